//! Encoded answers to Metadata requests for all topics, kept for as long as nothing in them changes: to describe and encode
//! ten thousand topics takes long, and after each change every client asks.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::lock::Mutex;
use net::protocol::EncodedResponse;

use crate::metadata::MetadataImage;

/// What an answer was made from. All of it is the same for as long as the answer would be.
#[derive(Debug, Clone)]
pub struct AnswerSource {
    /// The metadata.
    pub image: Arc<MetadataImage>,
    /// Counts the changes of what is offline.
    pub offline_changes: u64,
    /// Whether nothing can be written any more.
    pub is_read_only: bool,
}

impl AnswerSource {
    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.image, &other.image)
            && self.offline_changes == other.offline_changes
            && self.is_read_only == other.is_read_only
    }
}

/// What else an answer depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerVariant {
    /// The version of the request.
    pub version: i16,
    /// Where the client is told to find this broker.
    pub address: (String, i32),
    /// Whether it asks what it may do with topics.
    pub topic_operations: bool,
    /// Whether it asks what it may do with the cluster.
    pub cluster_operations: bool,
}

#[derive(Default)]
struct Kept {
    source: Option<AnswerSource>,
    answers: VecDeque<(AnswerVariant, EncodedResponse)>,
    bytes: usize,
}

/// Kept answers, all of one source. Lives on every shard.
pub struct MetadataAnswers {
    bytes_max: usize,
    kept: RefCell<Kept>,
    making: Mutex<()>,
    made: Cell<u64>,
}

/// Answers that are kept: there are few kinds of clients.
const ANSWERS_MAX: usize = 8;

impl MetadataAnswers {
    /// Keeps at most so many bytes.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, kept: RefCell::default(), making: Mutex::new(()), made: Cell::new(0) }
    }

    /// How many answers were made, rather than found.
    #[must_use]
    pub fn made(&self) -> u64 {
        self.made.get()
    }

    /// The answer to a request, kept or from `make`. `source` says what it has to be made from at the moment. Whoever asks
    /// for it meanwhile waits for the one that is being made.
    ///
    /// # Errors
    /// What `make` says.
    pub async fn answer<X>(
        &self,
        variant: &AnswerVariant,
        source: impl Fn() -> AnswerSource,
        make: impl AsyncFnOnce(&MetadataImage) -> Result<EncodedResponse, X>,
    ) -> Result<EncodedResponse, X> {
        if let Some(found) = self.find(&source(), variant) {
            return Ok(found);
        }
        let _one_at_a_time = self.making.lock().await;
        let from = source();
        if let Some(found) = self.find(&from, variant) {
            return Ok(found);
        }
        let made = make(&from.image).await?;
        self.made.set(self.made.get() + 1);
        if from.is(&source()) {
            self.keep(from, variant.clone(), &made);
        }
        Ok(made)
    }

    fn find(&self, source: &AnswerSource, variant: &AnswerVariant) -> Option<EncodedResponse> {
        let mut kept = self.kept.borrow_mut();
        if !kept.source.as_ref().is_some_and(|kept| kept.is(source)) {
            *kept = Kept::default();
            return None;
        }
        kept.answers.iter().find(|(kept, _)| kept == variant).map(|(_, answer)| answer.clone())
    }

    fn keep(&self, source: AnswerSource, variant: AnswerVariant, answer: &EncodedResponse) {
        let mut kept = self.kept.borrow_mut();
        let bytes = length(answer);
        if bytes > self.bytes_max {
            return;
        }
        // Nobody can keep what others ask for out, by asking first.
        while kept.answers.len() == ANSWERS_MAX || kept.bytes + bytes > self.bytes_max {
            let Some((_, oldest)) = kept.answers.pop_front() else { break };
            kept.bytes -= length(&oldest);
        }
        kept.source = Some(source);
        kept.bytes += bytes;
        kept.answers.push_back((variant, answer.clone()));
    }
}

fn length(answer: &EncodedResponse) -> usize {
    answer.segments.iter().map(net::protocol::Segment::len).sum()
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use futures_util::future::join_all;
    use net::protocol::{ErrorCounts, Segment};

    use super::*;

    fn variant(version: i16) -> AnswerVariant {
        let address = ("host".to_owned(), 9092);
        AnswerVariant { version, address, topic_operations: false, cluster_operations: false }
    }

    fn encoded(content: &'static [u8]) -> EncodedResponse {
        EncodedResponse { segments: vec![Segment::Bytes(content.into())], errors: ErrorCounts::default() }
    }

    fn ask(
        answers: &MetadataAnswers,
        version: i16,
        source: &AnswerSource,
        content: &'static [u8],
    ) -> Vec<u8> {
        let make = async |_: &MetadataImage| Ok::<_, ()>(encoded(content));
        let answer = answers.answer(&variant(version), || source.clone(), make).now_or_never();
        match &answer.expect("nobody else asks").expect("it can be made").segments[..] {
            [Segment::Bytes(bytes)] => bytes.to_vec(),
            other => panic!("{other:?}"),
        }
    }

    fn source() -> AnswerSource {
        AnswerSource { image: Arc::default(), offline_changes: 0, is_read_only: false }
    }

    #[test]
    fn an_answer_is_made_once_for_each_kind_and_source() {
        let answers = MetadataAnswers::new(100);
        let first = source();
        assert_eq!(ask(&answers, 1, &first, b"one"), b"one");
        assert_eq!(ask(&answers, 1, &first, b"other"), b"one");
        assert_eq!(ask(&answers, 2, &first, b"two"), b"two");
        assert_eq!(ask(&answers, 1, &first, b"other"), b"one");
        assert_eq!(answers.made(), 2);
        let offline = AnswerSource { offline_changes: 1, ..first.clone() };
        assert_eq!(ask(&answers, 1, &offline, b"three"), b"three");
        let read_only = AnswerSource { is_read_only: true, ..offline.clone() };
        assert_eq!(ask(&answers, 1, &read_only, b"four"), b"four");
        assert_eq!(ask(&answers, 1, &source(), b"five"), b"five", "another image that looks the same");
    }

    #[test]
    fn only_so_much_is_kept() {
        let (answers, source) = (MetadataAnswers::new(10), source());
        ask(&answers, 0, &source, b"12345678");
        assert_eq!(ask(&answers, 1, &source, b"1234"), b"1234");
        assert_eq!(ask(&answers, 1, &source, b"5678"), b"1234", "the older one made room");
        assert_eq!(ask(&answers, 0, &source, b"-"), b"-");
        assert_eq!(ask(&answers, 2, &source, b"more than ten"), b"more than ten");
        assert_eq!(ask(&answers, 2, &source, b""), b"", "too large to be kept");
        for version in 3..20 {
            ask(&answers, version, &source, b"");
        }
        assert_eq!(answers.kept.borrow().answers.len(), ANSWERS_MAX);
        assert_eq!(ask(&answers, 19, &source, b"-"), b"", "the newest is kept");
    }

    #[test]
    fn those_who_ask_meanwhile_wait_for_the_answer() {
        let (answers, source) = (MetadataAnswers::new(10), source());
        let variant = variant(1);
        let ask = |_| {
            let make = async |_: &MetadataImage| {
                runtime::yield_now().await;
                Ok::<_, ()>(encoded(b"1"))
            };
            answers.answer(&variant, || source.clone(), make)
        };
        let mut asking = std::pin::pin!(join_all((0..3).map(ask)));
        let answered = (0..10).find_map(|_| asking.as_mut().now_or_never());
        assert_eq!((answered.map(|found| found.len()), answers.made()), (Some(3), 1));
    }

    #[test]
    fn what_changes_while_it_is_made_is_not_kept() {
        let answers = MetadataAnswers::new(10);
        let (image, offline_changes) = (Arc::default(), Cell::new(0));
        let source =
            || AnswerSource { image: Arc::clone(&image), offline_changes: offline_changes.get(), ..source() };
        let make = async |_: &MetadataImage| {
            offline_changes.set(1);
            Ok::<_, ()>(encoded(b"1"))
        };
        assert!(answers.answer(&variant(1), source, make).now_or_never().is_some());
        assert!(answers.kept.borrow().answers.is_empty());
    }
}
