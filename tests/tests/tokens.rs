//! Who may write: tokens good, bad, expiring and renewed.

use std::time::Duration;

use anyhow::Result;
use chorus_client::protocol::server::ReceiptStatus;
use chorus_client::{Options, TokenIn, Viewer};
use chorus_tests::SOON;
use chorus_tests::dev::Dev;
use chorus_tests::jwt;

async fn close_code(dev: &Dev, token: String, token_in: TokenIn) -> Result<Option<u16>> {
    let options = Options {
        token_in,
        ..Options::default().token(token)
    };
    let mut viewer = Viewer::connect(&dev.endpoint()?, &dev.demo()?, &options).await?;
    Ok(viewer.wait_closed(SOON).await?.code())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_token_at_opening_is_upgraded_and_closed_with_4401() -> Result<()> {
    let dev = Dev::shared();
    let secret = dev.token_secret()?;
    let claims = jwt::claims("mallory", "admin", 3_600);
    let good = jwt::hs256(&secret, &claims)?;
    let (head, signature) = good.rsplit_once('.').unwrap_or_default();
    let expired = jwt::hs256(&secret, &jwt::claims("mallory", "user", -120))?;
    let with = |name: &str, value: serde_json::Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        jwt::hs256(&secret, &claims)
    };
    let root = with("role", "root".into())?;
    let no_role = with("role", serde_json::Value::Null)?;
    let milliseconds = with("exp", (jwt::now_s() * 1_000 + 3_600_000).into())?;
    let mut no_end = claims.clone();
    no_end.as_object_mut().map(|claims| claims.remove("exp"));
    let mut no_user = claims.clone();
    no_user.as_object_mut().map(|claims| claims.remove("sub"));
    let tampered = {
        let other = jwt::hs256(&secret, &jwt::claims("victim", "admin", 3_600))?;
        let (other_head, _) = other.rsplit_once('.').unwrap_or_default();
        format!("{other_head}.{signature}")
    };
    let bad = [
        ("expired", expired),
        ("alg none", jwt::none(&claims)),
        (
            "alg none with a signature",
            format!("{}{signature}", jwt::none(&claims)),
        ),
        (
            "another key",
            jwt::hs256("bm90IHRoZSBzZWNyZXQgb2YgdGhpcyBzZXJ2ZXIgYXQgYWxs", &claims)?,
        ),
        ("no signature", format!("{head}.")),
        ("another's claims", tampered),
        ("without an end", jwt::hs256(&secret, &no_end)?),
        ("without a user", jwt::hs256(&secret, &no_user)?),
        ("a role that there is not", root),
        ("null as a role", no_role),
        ("an end in milliseconds", milliseconds),
        ("no token", "x".to_owned()),
        ("dots", "...".to_owned()),
    ];
    for (what, token) in bad {
        for token_in in [TokenIn::Header, TokenIn::Query] {
            let code = close_code(dev, token.clone(), token_in).await?;
            assert_eq!(code, Some(4401), "{what} by {token_in:?}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_by_header_query_or_later_is_the_same() -> Result<()> {
    let dev = Dev::shared();
    let demo = dev.demo()?;
    let token = dev.token("ada-ways", "admin").await?;
    for token_in in [TokenIn::Header, TokenIn::Query] {
        let options = Options {
            token_in,
            ..Options::default().token(token.clone())
        };
        let mut ada = dev.viewer(&demo, &options).await?;
        ada.post_durable("by a token at opening", SOON).await?;
    }
    let mut ada = dev.viewer(&demo, &Options::default()).await?;
    let key = ada.post("too early").await?;
    ada.wait("refused", SOON, |ada| {
        ada.receipt(&key, ReceiptStatus::Rejected).is_some() || !ada.errors.is_empty()
    })
    .await?;
    ada.client().authenticate(&token).await?;
    ada.post_durable("by a token that came later", SOON).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn when_a_token_ends_reading_goes_on_and_another_restores_writing() -> Result<()> {
    let dev = Dev::shared();
    let secret = dev.token_secret()?;
    // By 56 s it has ended, and 60 s clocks may differ: it is good for 4 s more.
    let short = jwt::hs256(&secret, &jwt::claims("ada-ends", "user", 4 - 60))?;
    let mut ada = dev
        .viewer(&dev.demo()?, &Options::default().token(short))
        .await?;
    ada.post_durable("while it holds", SOON).await?;
    ada.wait("token_expired", SOON, |ada| {
        ada.errors.iter().any(|error| error.code == "token_expired")
    })
    .await?;
    let key = ada.post("after its end").await?;
    ada.wait("refused", SOON, |ada| {
        ada.receipt(&key, ReceiptStatus::Rejected).is_some()
            || ada
                .errors
                .iter()
                .any(|error| error.client_id.as_deref() == Some(key.as_str()))
    })
    .await?;
    assert_eq!(ada.durable(&key), None);

    let mut bob = dev.writer("bob-ends", "admin", Options::default()).await?;
    let seen = bob.post_durable("reading goes on", SOON).await?;
    ada.wait("another's comment", SOON, |ada| {
        ada.seen.missing([&seen]).is_empty()
    })
    .await?;

    // Another user may not take over the connection.
    let other = jwt::hs256(&secret, &jwt::claims("somebody-else", "user", 600))?;
    let errors = ada.errors.len();
    ada.client().authenticate(&other).await?;
    ada.wait("an error", SOON, |ada| {
        ada.errors.len() > errors || ada.closed.is_some()
    })
    .await?;
    assert_eq!(ada.closed, None);

    let again = jwt::hs256(&secret, &jwt::claims("ada-ends", "user", 600))?;
    ada.client().authenticate(&again).await?;
    ada.post_durable("and writing too", SOON).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn forty_posts_in_a_second_are_limited_with_the_truth() -> Result<()> {
    let dev = Dev::shared();
    let mut ada = dev.writer("ada-forty", "user", Options::default()).await?;
    let mut bob = dev.writer("bob-forty", "user", Options::default()).await?;
    let mut keys = Vec::new();
    for number in 0..40 {
        keys.push(ada.post(&format!("one of forty: {number}")).await?);
    }
    ada.wait("forty outcomes", SOON, |ada| {
        keys.iter().all(|key| {
            ada.durable(key).is_some() || ada.receipt(key, ReceiptStatus::Rejected).is_some()
        })
    })
    .await?;
    let durable = keys.iter().filter(|key| ada.durable(key).is_some()).count();
    assert_eq!(durable, 5, "five in 30 s of one user on one stream");
    for key in keys.iter().filter(|key| ada.durable(key).is_none()) {
        let receipts = &ada.receipts[key];
        assert_eq!(receipts.len(), 1, "{receipts:?}");
        assert_eq!(receipts[0].reason.as_deref(), Some("rate_limited"));
        let retry = receipts[0].retry_after_ms.unwrap_or(0);
        assert!((1..=60_000).contains(&retry), "{retry}");
    }
    bob.post_durable("not limited by ada", SOON).await?;

    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_a_users_and_not_a_connections() -> Result<()> {
    // Each shard counts for itself; what holds across shards is not there yet.
    let dev = Dev::start(&["--shards", "1"])?;
    let token = dev.token("ada-devices", "user").await?;
    let options = Options::default().token(token);
    let mut durable = 0;
    for device in 0..3 {
        let mut ada = dev.viewer(&dev.demo()?, &options).await?;
        for number in 0..3 {
            let key = ada.post(&format!("by device {device}: {number}")).await?;
            ada.wait("an outcome", SOON, |ada| {
                ada.durable(&key).is_some() || ada.receipt(&key, ReceiptStatus::Rejected).is_some()
            })
            .await?;
            durable += usize::from(ada.durable(&key).is_some());
        }
    }
    assert_eq!(durable, 5);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_as_long_as_told_helps() -> Result<()> {
    let dev = Dev::shared();
    let mut ada = dev.writer("ada-waits", "user", Options::default()).await?;
    let mut keys = Vec::new();
    for number in 0..6 {
        keys.push(ada.post(&format!("patience {number}")).await?);
    }
    let last = keys
        .pop()
        .unwrap_or_else(|| unreachable!("six were posted"));
    ada.wait("rate_limited", SOON, |ada| {
        ada.receipt(&last, ReceiptStatus::Rejected).is_some()
    })
    .await?;
    let retry = ada
        .receipt(&last, ReceiptStatus::Rejected)
        .and_then(|receipt| receipt.retry_after_ms)
        .unwrap_or(0);
    assert!(retry > 0);
    ada.watch_for(Duration::from_millis(retry + 50)).await;
    ada.post_durable("after the wait", SOON).await?;
    Ok(())
}
