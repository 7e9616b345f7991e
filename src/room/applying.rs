//! What back ends bring: until the store has it, or they have waited long enough.
//!
//! An update that is for an empty document only is in no answer, and sent to nobody, before the store
//! has it: were it lost after somebody had seen it, whoever brings it again, with new ids, would double
//! it. It gets its place in the log, and another when it is passed on, as what is held back does. If the
//! store does not answer in time its place is set aside, so that it was never there.

use std::collections::VecDeque;

use crate::clock::Timestamp;
use crate::limits::{SIFT_INLINE_BYTES_MAX, STORED_WITHIN};
use crate::model::RequestId;
use crate::room::document::{Question, Sequence};
use crate::room::output::{Keep, Output, Reply};
use crate::room::{Origin, Room};
use crate::small::SmallMap;
use crate::wire::close::Refusal;
use crate::wire::frontier::Admitted;
use crate::wire::yjs::Update;

/// Updates of back ends that are not in the document yet.
#[derive(Default)]
pub(super) struct Applying {
    /// How long each is waited for, in order; of some it is known by now.
    deadlines: VecDeque<(Timestamp, RequestId)>,
    /// Those that wait to hear whether the document is empty.
    conditional: SmallMap<RequestId, Update>,
    /// The one of these for which it was.
    proposed: Option<Box<Proposed>>,
}

struct Proposed {
    request: RequestId,
    sequence: Sequence,
    update: Update,
}

impl Applying {
    /// Nobody waits for anything here.
    pub fn is_empty(&self) -> bool {
        self.conditional.is_empty() && self.proposed.is_none()
    }

    /// When somebody has waited long enough.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.front().map(|&(until, _)| until)
    }

    /// How much is proposed.
    pub fn bytes(&self) -> usize {
        let proposed = self.proposed.as_ref();
        proposed.map_or(0, |proposed| proposed.update.bytes().len())
    }

    /// The place of what is proposed.
    pub fn proposed(&self) -> Option<Sequence> {
        self.proposed.as_ref().map(|proposed| proposed.sequence)
    }
}

impl Room {
    /// A back end brings an update.
    pub(super) fn apply(
        &mut self,
        now: Timestamp,
        request: RequestId,
        update: Update,
        only_if_empty: bool,
    ) {
        let until = now + STORED_WITHIN;
        if only_if_empty {
            self.applying.deadlines.push_back((until, request));
            self.applying.conditional.insert(request, update);
            self.questions.push(Question::Emptiness { request });
        } else if update.is_empty() {
            self.answer(request, Reply::Applied);
        } else {
            if self.holdback.is_none() || !self.early.is_empty() {
                self.applying.deadlines.push_back((until, request));
            }
            self.accept(now, Origin::Request(request, until), update);
        }
    }

    /// It is known whether the document was empty when a back end asked.
    pub(super) fn emptiness_known(&mut self, now: Timestamp, request: RequestId, is_empty: bool) {
        if self.applying.proposed.is_some() {
            // Whether it stays so is known when the store has answered: it is asked again then.
            return;
        }
        let waits = self.holdback.as_ref().is_some_and(|it| 0 < it.bytes());
        let may_be_proposed = is_empty && !waits;
        let has_news = self.run.is_some()
            || self.sifting.is_some()
            || !self.early.is_empty()
            || !self.unapplied.is_empty();
        if may_be_proposed && has_news {
            // Something came while we looked: look again.
            if self.applying.conditional.contains_key(&request) {
                self.questions.push(Question::Emptiness { request });
            }
            return;
        }
        // Whoever has waited long enough is not here any more.
        let Some(update) = self.applying.conditional.remove(&request) else {
            return;
        };
        match may_be_proposed {
            false => self.answer(request, Reply::NotEmpty),
            true if update.is_empty() => self.answer(request, Reply::Applied),
            true => self.propose(now, request, update),
        }
    }

    /// The document cannot be read, so nobody knows whether it is empty.
    pub(super) fn emptiness_unknown(&mut self, request: RequestId, refusal: Refusal) {
        if self.applying.conditional.remove(&request).is_some() {
            self.answer(request, Reply::Refused(refusal));
        }
    }

    fn propose(&mut self, now: Timestamp, request: RequestId, update: Update) {
        let bytes = update.bytes().clone();
        if !self.has_room_for(bytes.len()) {
            self.answer(request, Reply::Refused(Refusal::LimitDocument));
            return;
        }
        // The log is written in its order.
        self.seal(now);
        let sequence = self.durability.append();
        self.log_bytes += bytes.len();
        self.outputs.push_back(Output::Keep(Keep::Append {
            sequence,
            update: bytes,
        }));
        self.applying.proposed = Some(Box::new(Proposed {
            request,
            sequence,
            update,
        }));
    }

    /// The store has everything up to a place: perhaps what was proposed.
    pub(super) fn settle_proposed(&mut self, now: Timestamp) {
        if self.sifting.is_some() {
            // It is looked at again when the hold-back queue is back.
            return;
        }
        let is_stored = |proposed: &mut Box<Proposed>| self.durability.has(proposed.sequence);
        let Some(proposed) = self.applying.proposed.take_if(is_stored) else {
            return;
        };
        let Proposed {
            request, update, ..
        } = *proposed;
        let is_large = SIFT_INLINE_BYTES_MAX < update.bytes().len();
        if is_large && self.holdback.is_some() {
            self.send_to_be_sifted(Some(Origin::Departed), Some(update));
        } else if let Some(holdback) = &mut self.holdback {
            let Admitted { ready, rest } = holdback.admit(update);
            if let Some(ready) = ready {
                self.append(now, ready, None);
            }
            // It is stored: that there may be too much of its kind comes too late.
            if let Some(rest) = rest {
                self.hold(now, None, rest);
            }
            self.release(now);
        }
        self.answer(request, Reply::Applied);
        self.ask_about_conditional();
    }

    /// Answers those who have waited long enough.
    pub(super) fn give_up_applying(&mut self, now: Timestamp) {
        while let Some(request) = self.durability.pop_late(now) {
            self.answer(request, Reply::NotStored { is_applied: true });
        }
        while let Some(&(until, request)) = self.applying.deadlines.front()
            && until <= now
        {
            self.applying.deadlines.pop_front();
            if self.take_back(request) {
                self.answer(request, Reply::NotStored { is_applied: false });
            }
        }
    }

    /// What was brought is not applied, if it has not been yet.
    fn take_back(&mut self, request: RequestId) -> bool {
        if self.applying.conditional.remove(&request).is_some() {
            return true;
        }
        let is_its = |proposed: &mut Box<Proposed>| proposed.request == request;
        if let Some(proposed) = self.applying.proposed.take_if(is_its) {
            let sequence = proposed.sequence;
            self.outputs
                .push_back(Output::Keep(Keep::Withdraw { sequence }));
            self.ask_about_conditional();
            return true;
        }
        let is_early = |(origin, _): &(Origin, Update)| matches!(origin, Origin::Request(early, _) if *early == request);
        let Some(place) = self.early.iter().position(is_early) else {
            return false;
        };
        if let Some((_, update)) = self.early.remove(place) {
            self.early_bytes -= update.bytes().len();
        }
        true
    }

    /// The outcome for which they waited is known.
    fn ask_about_conditional(&mut self) {
        let waiting = self.applying.conditional.keys();
        let questions = waiting.map(|&request| Question::Emptiness { request });
        self.questions.extend(questions);
    }
}
