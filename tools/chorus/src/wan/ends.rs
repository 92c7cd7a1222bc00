//! Which links are meant: by a host's name, a region's, or the beginning of a host's name and `*`.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

/// A machine of the network.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) region: Option<String>,
    pub(crate) address: Ipv4Addr,
}

impl Host {
    /// Whether `pattern` means this host.
    pub(crate) fn is(&self, pattern: &str) -> bool {
        match pattern.strip_suffix('*') {
            Some(beginning) => self.name.starts_with(beginning),
            None => self.name == pattern || self.region.as_deref() == Some(pattern),
        }
    }
}

/// Links by their two ends.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ends {
    pub(crate) from: String,
    /// When absent all hosts that `from` does not mean.
    pub(crate) to: Option<String>,
    /// Without the way back.
    pub(crate) one_way: bool,
}

impl Ends {
    /// Whether the link from one host to another is meant.
    pub(crate) fn mean(&self, from: &Host, to: &Host) -> bool {
        self.forth(from, to) || (!self.one_way && self.forth(to, from))
    }

    fn forth(&self, from: &Host, to: &Host) -> bool {
        let to_is_meant = match &self.to {
            Some(pattern) => to.is(pattern),
            None => !to.is(&self.from),
        };
        from.is(&self.from) && to_is_meant
    }

    /// The first of the two ends that means no host.
    pub(crate) fn unknown(&self, hosts: &[Host]) -> Option<&str> {
        [Some(&self.from), self.to.as_ref()]
            .into_iter()
            .flatten()
            .find(|pattern| !hosts.iter().any(|host| host.is(pattern)))
            .map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str, region: &str) -> Host {
        Host {
            name: name.to_owned(),
            region: Some(region.to_owned()),
            address: Ipv4Addr::LOCALHOST,
        }
    }

    #[test]
    fn ends_are_hosts_regions_beginnings_or_the_rest() {
        let (eu1, eu2, us) = (host("eu-1", "eu"), host("eu-2", "eu"), host("us-1", "us"));
        let ends = |from: &str, to: Option<&str>, one_way| Ends {
            from: from.to_owned(),
            to: to.map(str::to_owned),
            one_way,
        };
        let both = ends("eu", Some("us-1"), false);
        assert!(both.mean(&eu1, &us) && both.mean(&us, &eu2) && !both.mean(&eu1, &eu2));
        let one_way = ends("eu-1", Some("us*"), true);
        assert!(one_way.mean(&eu1, &us) && !one_way.mean(&us, &eu1));
        let rest = ends("eu", None, false);
        assert!(rest.mean(&eu1, &us) && rest.mean(&us, &eu1) && !rest.mean(&eu1, &eu2));
        let hosts = [eu1, eu2, us];
        assert_eq!(rest.unknown(&hosts), None);
        assert_eq!(ends("eu", Some("mars"), true).unknown(&hosts), Some("mars"));
    }
}
