//! Documents that their client closed, and that it may turn out to go on with.
//!
//! Editors make a document's client anew on a connection that stays, or is not open yet: the farewell
//! of the old one may come behind the greeting of the new one, and ends what that had begun. The new
//! client is told nothing of it, and believes itself in. So a closed session is remembered for as long
//! as its door remembers it. It is told what it is still owed (a client that is gone passes over that),
//! and what only somebody says who is here reopens it: a step 2, an update, or a state of its own id.

use crate::clock::Timestamp;
use crate::model::{ClientId, Grant, SessionId};
use crate::presence::{Admission, Ending, Entering};
use crate::room::document::Question;
use crate::room::input::{FromSession, Manner};
use crate::room::output::{Message, Output};
use crate::room::stamp::appearance_of;
use crate::room::tally::Tally;
use crate::room::{Arriving, Room, Session};
use crate::wire::close::Refusal;
use crate::wire::yjs::StateVector;

/// What is remembered of a session that its client closed.
pub(super) struct Closed {
    manner: Manner,
    tally: Tally,
    /// The id that was its own.
    own: Option<ClientId>,
    /// What it has, if it has not been answered what it lacks.
    unanswered: Option<StateVector>,
}

impl Closed {
    pub(super) fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }

    /// Whether whoever goes on has not been told what they lack.
    pub(super) fn is_owed(&self) -> bool {
        self.unanswered.is_some()
    }

    pub(super) fn wants_status(&self) -> bool {
        self.manner.wants_status
    }
}

impl Room {
    /// The session's client has closed the document.
    pub(super) fn close_session(&mut self, now: Timestamp, session: SessionId) {
        let Some(known) = self.sessions.remove(&session) else {
            return;
        };
        // First of all the others are told: nobody is to see a ghost.
        let own = self.awareness.close(now, session);
        self.roster.leave(now, session, Ending::Clean);
        let mut unanswered = None;
        if self.silent.iter().any(|&(_, silent)| silent == session) {
            self.silent.retain(|&(_, silent)| silent != session);
            unanswered = Some(StateVector::empty());
        }
        let mut is_asked = false;
        self.questions.retain(|question| match question {
            Question::Diff {
                session: asker,
                state_vector,
            } if *asker == session => {
                unanswered = Some(state_vector.clone());
                is_asked = true;
                false
            }
            Question::Resync { session: asker } if *asker == session => false,
            _ => true,
        });
        if is_asked {
            // Whoever goes on answers that, whatever it has; nobody else hears it.
            self.questions.push(Question::Ask { session });
        }
        let closed = Closed {
            manner: known.manner,
            tally: known.tally,
            own,
            unanswered,
        };
        self.closed.insert(session, closed);
    }

    /// A session that its client has closed says something.
    pub(super) fn reopen(
        &mut self,
        now: Timestamp,
        session: SessionId,
        grant: Grant,
        manner: Manner,
        message: FromSession,
    ) {
        if self.sessions.contains_key(&session) {
            self.message(now, session, message);
            return;
        }
        let own = self.closed.get(&session).and_then(|closed| closed.own);
        let is_state = match &message {
            FromSession::Step2(_) | FromSession::Update(_) => false,
            FromSession::Awareness(update) if self.awareness.is_own(&grant, own, update) => true,
            _ => return,
        };
        let closed = self.closed.remove(&session).unwrap_or_else(|| Closed {
            manner,
            tally: Tally::default(),
            own: None,
            // The room has been away since.
            unanswered: Some(StateVector::empty()),
        });
        if grant.is_participant {
            let entering = Entering {
                user: grant.identity.user.clone(),
                identity: appearance_of(&grant),
                may_wait: false,
                lasts: None,
            };
            if self.roster.enter(now, session, entering) != Admission::In {
                let refusal = Refusal::BoardFull;
                self.outputs.push_back(Output::Refuse { session, refusal });
                return;
            }
        } else {
            self.outputs.push_back(Output::Admitted { session });
        }
        self.admit(now, session, Arriving { grant, manner });
        self.silent.retain(|&(_, silent)| silent != session);
        if let Some(own) = own {
            self.awareness.expect(session, own);
        }
        if let Some(known) = self.sessions.get_mut(&session) {
            *known = Session {
                tally: closed.tally,
                ..*known
            };
        }
        match closed.unanswered {
            Some(state_vector) => self.give(session, state_vector),
            None => self.ask(session),
        }
        if !is_state {
            // What it said of itself before was ended with what it had begun.
            self.tell(session, Message::QueryAwareness);
        }
        self.message(now, session, message);
    }

    /// The session is asked what it has, though it has not asked.
    pub(super) fn ask(&mut self, session: SessionId) {
        if let Some(known) = self.sessions.get_mut(&session) {
            known.tally.ask();
            self.questions.push(Question::Ask { session });
        }
    }

    /// The session is sent what it lacks that has this, and asked what it has, though it has not asked.
    pub(super) fn give(&mut self, session: SessionId, state_vector: StateVector) {
        if let Some(known) = self.sessions.get_mut(&session) {
            known.tally.ask();
            known.tally.gives();
            self.tell(session, Message::Hold);
            self.questions.push(Question::Diff {
                session,
                state_vector,
            });
        }
    }
}
