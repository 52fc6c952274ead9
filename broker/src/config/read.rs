//! Reads typed values out of validated text.

use std::time::Duration;

use storage::SealedRead;

use super::cores;
use super::definition::{Definition, Scope};
use super::definitions::Definitions;
use super::layers::{Found, Layers};
use super::value::{self, Value};

/// Reads broker settings. Every key it is asked for is in the table with a fitting type; building the default
/// snapshot in a test asks for each of them.
pub(super) struct Reader<'a> {
    pub(super) layers: &'a Layers,
}

impl Reader<'_> {
    fn found(&self, key: &str) -> Option<(&'static Definition, Found<'_>)> {
        let definition =
            Definitions::find(Scope::Broker, key).expect("the reader asks for keys of the table only");
        self.layers.effective(definition).map(|found| (definition, found))
    }

    pub(super) fn i64(&self, key: &str) -> i64 {
        let (_, found) = self.found(key).expect("integers that are read have a default");
        integer(&found)
    }

    pub(super) fn i32(&self, key: &str) -> i32 {
        i32::try_from(self.i64(key)).expect("the table declares it as INT")
    }

    pub(super) fn u64(&self, key: &str) -> u64 {
        u64::try_from(self.i64(key)).expect("the table bounds it from below by 0")
    }

    pub(super) fn u32(&self, key: &str) -> u32 {
        u32::try_from(self.i64(key)).expect("the table declares it as INT of at least 0")
    }

    pub(super) fn usize(&self, key: &str) -> usize {
        usize::try_from(self.i64(key)).expect("the table bounds it from below by 0")
    }

    /// Negative is none.
    pub(super) fn optional_u64(&self, key: &str) -> Option<u64> {
        u64::try_from(self.i64(key)).ok()
    }

    pub(super) fn microseconds(&self, key: &str) -> Duration {
        Duration::from_micros(self.u64(key))
    }

    pub(super) fn milliseconds(&self, key: &str) -> Duration {
        Duration::from_millis(self.u64(key))
    }

    pub(super) fn minutes(&self, key: &str) -> Duration {
        Duration::from_secs(self.u64(key) * 60)
    }

    /// Negative is none.
    pub(super) fn optional_milliseconds(&self, key: &str) -> Option<Duration> {
        u64::try_from(self.i64(key)).ok().map(Duration::from_millis)
    }

    pub(super) fn boolean(&self, key: &str) -> bool {
        self.optional_text(key).is_some_and(|text| text.eq_ignore_ascii_case("true"))
    }

    pub(super) fn optional_text(&self, key: &str) -> Option<String> {
        self.found(key).map(|(_, found)| found.text.trim().to_owned())
    }

    pub(super) fn list(&self, key: &str) -> Vec<String> {
        self.found(key).map(|(_, found)| value::list(found.text)).unwrap_or_default()
    }

    pub(super) fn cores(&self, key: &str) -> Vec<usize> {
        cores::parse(&self.optional_text(key).unwrap_or_default())
            .expect("the table checks the list of cores")
    }

    pub(super) fn header(&self, key: &str) -> bool {
        self.optional_text(key).as_deref() == Some("header")
    }

    pub(super) fn sealed_read(&self, key: &str) -> SealedRead {
        match self.optional_text(key).as_deref() {
            Some("sendfile") => SealedRead::Sendfile,
            _ => SealedRead::Direct,
        }
    }
}

/// The number behind a found value, in the unit of the key that asked.
pub(super) fn integer(found: &Found<'_>) -> i64 {
    let definition =
        Definitions::find(Scope::Broker, found.name).expect("synonyms are broker keys of the table");
    match value::parse(definition, found.text) {
        // -1 hours is as unlimited as -1 milliseconds.
        Ok(Value::Integer(number)) if number < 0 => number,
        Ok(Value::Integer(number)) => number.saturating_mul(found.factor),
        _ => unreachable!("layers hold validated values and the row is an integer"),
    }
}
