//! `meta.properties`: which cluster and node a data directory belongs to.

use model::{NodeId, Uuid};

use crate::LogDirOptions;

/// The identity of a data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MetaProperties {
    pub(crate) cluster_id: String,
    pub(crate) node_id: NodeId,
    pub(crate) directory_id: Uuid,
}

impl MetaProperties {
    /// Reads the properties of version 1; `draw` gives a directory id to a file without one.
    pub(crate) fn parse(bytes: &[u8], draw: impl FnOnce() -> Uuid) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "not text".to_owned())?;
        if let Some((sum, rest)) = text.strip_prefix(CHECKSUM_START).and_then(|text| text.split_once('\n'))
            && sum != checksum(rest)
        {
            return Err(
                "damaged: it does not have the checksum of its first line. Correct it and remove that line"
                    .to_owned(),
            );
        }
        let value = |key: &str| {
            text.lines()
                .filter(|line| !line.starts_with('#'))
                .filter_map(|line| line.split_once('='))
                .find(|(name, _)| name.trim() == key)
                .map(|(_, value)| value.trim())
        };
        match value("version") {
            Some("1") => {}
            other => return Err(format!("version {} is not known, only 1", other.unwrap_or("(none)"))),
        }
        let cluster_id = value("cluster.id").ok_or("cluster.id is missing")?.to_owned();
        let node_id =
            value("node.id").and_then(|id| id.parse().ok()).ok_or("node.id is missing or no number")?;
        let directory_id = match value("directory.id") {
            Some(id) => id.parse().map_err(|error| format!("directory.id: {error}"))?,
            None => draw(),
        };
        Ok(Self { cluster_id, node_id: NodeId(node_id), directory_id })
    }

    /// Whether a broker with these options may use the directory.
    pub(crate) fn check(&self, options: &LogDirOptions) -> Result<(), String> {
        if self.node_id != options.node_id {
            return Err(format!(
                "the directory belongs to node {}, this is node {}",
                self.node_id, options.node_id
            ));
        }
        match &options.cluster_id {
            Some(cluster_id) if *cluster_id != self.cluster_id => Err(format!(
                "the directory belongs to cluster {}, this is cluster {cluster_id}",
                self.cluster_id
            )),
            _ => Ok(()),
        }
    }

    pub(crate) fn format(&self) -> Vec<u8> {
        let Self { cluster_id, node_id, directory_id } = self;
        let properties =
            format!("cluster.id={cluster_id}\ndirectory.id={directory_id}\nnode.id={node_id}\nversion=1\n");
        format!("{CHECKSUM_START}{}\n{properties}", checksum(&properties)).into_bytes()
    }
}

/// How the line begins that has the checksum of those behind it; Kafka takes it for a comment.
const CHECKSUM_START: &str = "#crc32c=";

fn checksum(properties: &str) -> String {
    format!("{:08x}", crc32c::crc32c(properties.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_round_trip_and_foreign_ones_are_refused() {
        let meta = MetaProperties {
            cluster_id: "c".to_owned(),
            node_id: NodeId(3),
            directory_id: Uuid::from_random([1; 16]),
        };
        let draw = || unreachable!("the id is there");
        assert_eq!(MetaProperties::parse(&meta.format(), draw), Ok(meta.clone()));
        for (node, cluster, fits) in
            [(3, None, true), (3, Some("c"), true), (4, None, false), (3, Some("d"), false)]
        {
            let options =
                LogDirOptions { node_id: NodeId(node), cluster_id: cluster.map(str::to_owned), lock: None };
            assert_eq!(meta.check(&options).is_ok(), fits, "{node} {cluster:?}");
        }
        for bad in
            ["", "version=2\ncluster.id=c\nnode.id=1", "version=1\ncluster.id=c", "version=1\nnode.id=1"]
        {
            assert!(MetaProperties::parse(bad.as_bytes(), || Uuid::ZERO).is_err(), "{bad:?}");
        }
    }
}
