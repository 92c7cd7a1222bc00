//! Who is let in.

use std::fs;

use anyhow::{Context as _, Result};
use async_nats::ConnectOptions;
use chorus_tests::{SOON, eventually};

use crate::supercluster::{REGIONS, Supercluster, render, small};

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_certificate_of_ours_is_neither_client_nor_server() -> Result<()> {
    let mut supercluster = Supercluster::start().await?;
    let out = supercluster.out.clone();
    let root = || ConnectOptions::new().add_root_certificates(out.join("eu-central/ca.pem"));
    let url = format!("tls://{}:4222", supercluster.address("eu-central"));
    assert!(root().connect(&url).await.is_err(), "without a certificate");
    let server = out.join("eu-central-1/node");
    let as_server =
        root().add_client_certificate(server.with_extension("pem"), server.with_extension("key"));
    assert!(as_server.connect(&url).await.is_err(), "with a server's");
    let other = root().add_client_certificate(
        out.join("us-east/operator.pem"),
        out.join("us-east/operator.key"),
    );
    assert!(other.connect(&url).await.is_err(), "with another region's");

    // Two servers that want in: `mars` is in no file of theirs, `venus` shows a role's certificate.
    let address = supercluster.address("eu-central");
    let net = address.trim_end_matches(char::is_numeric).to_owned();
    let mut text = small(&net)?.replace("[682, 1023]", "[682, 1000]");
    for (number, name) in [(4, "mars"), (5, "venus")] {
        text += &format!(
            "[[regions]]\nname = \"{name}\"\nworkers = [{number}001, {number}001]\n\
             nodes = [{{ name = \"{name}-1\", address = \"{net}{number}\", zone = \"a\" }}]\n"
        );
    }
    let text = text.replace("4001", "1001").replace("5001", "1002");
    let before: Vec<String> = REGIONS
        .iter()
        .map(|region| fs::read_to_string(out.join(format!("{region}-1/nats.conf"))))
        .collect::<Result<_, _>>()?;
    render(&text, &out)?;
    for (region, conf) in REGIONS.iter().zip(before) {
        fs::write(out.join(format!("{region}-1/nats.conf")), conf)?;
    }
    for end in ["pem", "key"] {
        fs::copy(
            out.join(format!("eu-central/operator.{end}")),
            out.join(format!("venus-1/node.{end}")),
        )?;
    }
    supercluster.start_nats("mars-1")?;
    supercluster.start_nats("venus-1")?;
    eventually("both are refused", SOON, async || {
        let said = supercluster.log("eu-central-1", "log");
        let mars = said.contains("Rejecting connection from gateway \"mars\"");
        (mars && said.contains("TLS gateway handshake error")).then_some(())
    })
    .await?;
    for region in REGIONS {
        let others = REGIONS.iter().filter(|other| **other != region);
        let others = others.map(|other| (*other).to_owned()).collect();
        eventually(
            "gateways to the two others, and no more",
            SOON,
            async || (supercluster.gateways(region).await.ok()? == others).then_some(()),
        )
        .await
        .with_context(|| region)?;
    }
    supercluster.done()
}
