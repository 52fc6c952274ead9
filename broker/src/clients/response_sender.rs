//! Sends responses, several in one system call. A client that does not read has the broker keep what it is sent: when the
//! socket takes nothing for a while, the memory of records goes to others that wait for some, and what has not been sent is
//! read again, piece by piece, when the socket takes more.

use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use runtime::budget::BudgetWatch;
use runtime::{Clock, Effects};

use crate::api::fetch::read::read_again;
use crate::api::response_records::Unsent;
use crate::api::services::ShardServices;
use crate::clients::outgoing::Outgoing;
use crate::clients::transport::Transport;

/// The sending side of one connection.
pub(crate) struct ResponseSender<'a, E: Effects, T: Transport<E>, F: Fn()> {
    pub(crate) shard: &'a Rc<ShardServices<E>>,
    pub(crate) transport: &'a T,
    /// Called when the socket has taken something.
    pub(crate) progressed: F,
}

impl<E: Effects, T: Transport<E>, F: Fn()> ResponseSender<'_, E, T, F> {
    /// Sends everything, in order. At most one send may be under way.
    ///
    /// # Errors
    /// The connection is gone, or records that have to be read again cannot be.
    pub(crate) async fn send(&self, mut line: VecDeque<Outgoing<E>>) -> io::Result<()> {
        while let Some(first) = line.pop_front() {
            match first {
                Outgoing::File(part) => {
                    self.transport.send_file(&part.file, part.position, part.length).await?;
                    (self.progressed)();
                }
                Outgoing::Unsent(unsent) => self.send_unsent(unsent).await?,
                first => self.send_run(first, &mut line).await?,
            }
        }
        Ok(())
    }

    /// Sends `first` and what follows it in memory. What the socket does not take in time goes back to the line.
    async fn send_run(&self, first: Outgoing<E>, line: &mut VecDeque<Outgoing<E>>) -> io::Result<()> {
        let mut run = vec![first];
        let mut pieces = run[0].pieces().to_vec();
        let mut gathered: usize = pieces.iter().map(Bytes::len).sum();
        while gathered < SEND_BYTES
            && let Some(next) =
                line.pop_front_if(|next| matches!(next, Outgoing::Bytes(_) | Outgoing::Records(_)))
        {
            gathered += next.pieces().iter().map(Bytes::len).sum::<usize>();
            pieces.extend_from_slice(next.pieces());
            run.push(next);
        }
        let kept = run.iter().chain(&*line).filter_map(|part| match part {
            Outgoing::Records(records) => Some(&records.source.memory),
            _ => None,
        });
        let sent = self.send_pieces(pieces, kept.cloned().collect()).await?;
        if sent < gathered {
            let mut sent = sent;
            let waiting = std::mem::take(line);
            let rest = run.into_iter().chain(waiting).filter_map(|part| {
                let length = part.pieces().iter().map(Bytes::len).sum();
                let gone = sent.min(length);
                sent -= gone;
                part.let_go(gone)
            });
            line.extend(rest);
        }
        Ok(())
    }

    /// Sends as much as the socket takes before the memory of what is sent has to be given up; yields how much that was.
    async fn send_pieces(&self, pieces: Vec<Bytes>, kept: Vec<BudgetWatch>) -> io::Result<usize> {
        let clock = self.shard.effects.clock();
        let patience = || async {
            if kept.is_empty() {
                return std::future::pending().await;
            }
            let end = clock.now() + KEPT_FOR_MAX;
            loop {
                clock.sleep_until(clock.now() + KEPT_FOR_OTHERS).await;
                if clock.now() >= end || kept.iter().any(BudgetWatch::is_wanted) {
                    return;
                }
            }
        };
        let sent = self.transport.send_while(pieces, patience).await?;
        if sent > 0 {
            (self.progressed)();
        }
        Ok(sent)
    }

    /// Reads again what has not been sent and sends it, whenever the socket takes more.
    async fn send_unsent(&self, mut unsent: Unsent) -> io::Result<()> {
        while unsent.length > unsent.skip {
            self.transport.writable().await?;
            let read = read_again(self.shard, &unsent, AGAIN_BYTES).await;
            let read = read.ok_or_else(|| io::Error::other("records of a response cannot be read again"))?;
            let mut rest = read.clone();
            let mut skip = unsent.skip;
            for piece in &mut rest {
                let gone = skip.min(piece.len());
                piece.advance(gone);
                skip -= gone;
            }
            rest.retain(|piece| !piece.is_empty());
            let sent = self.send_pieces(rest, vec![unsent.source.memory.clone()]).await?;
            let advanced = unsent.advance(&read, unsent.skip + sent);
            advanced.ok_or_else(|| io::Error::other("a response does not consist of batches"))?;
        }
        Ok(())
    }
}

/// Bytes of one send, at least, if there is more: a client that reads slowly is not idle as long as it takes so many.
const SEND_BYTES: usize = 2 << 20;

/// Bytes that are read again at once, unless a single batch is larger.
const AGAIN_BYTES: usize = 1 << 20;

/// A socket that takes nothing for so long gives its memory to others that wait for some ...
const KEPT_FOR_OTHERS: Duration = Duration::from_millis(50);

/// ... and after so long in any case.
const KEPT_FOR_MAX: Duration = Duration::from_secs(1);
