//! People without a token: the made-up guests of `--dev`.

use crate::model::{Identity, Token, UserId};

/// Somebody new, different from everybody before; `None` if the system gives no random numbers.
pub fn make_guest() -> Option<Token> {
    let mut random = [0; 9];
    getrandom::fill(&mut random).ok()?;
    guest_of(random)
}

/// The guest that belongs to a number.
pub fn guest_of(random: [u8; 9]) -> Option<Token> {
    let [animal, id @ ..] = random;
    let animal = ANIMALS[usize::from(animal) % ANIMALS.len()];
    let id = u64::from_be_bytes(id);
    Some(Token {
        identity: Identity {
            user: UserId::parse(&format!("guest-{id:016x}"))?,
            name: format!("Guest {animal}").into(),
            avatar: None,
            color: None,
        },
        rooms: Vec::new(),
        allowed: Vec::new(),
        readonly: Vec::new(),
        follows: Vec::new(),
        is_service: false,
        is_guest: true,
        issued_at: None,
        expires_at: None,
    })
}

const ANIMALS: [&str; 32] = [
    "Badger", "Beaver", "Bison", "Crane", "Dolphin", "Falcon", "Ferret", "Finch", "Fox", "Gecko",
    "Hare", "Hedgehog", "Heron", "Ibex", "Koala", "Lemur", "Lynx", "Magpie", "Marmot", "Moose",
    "Newt", "Ocelot", "Otter", "Owl", "Panda", "Puffin", "Quail", "Raven", "Seal", "Swift",
    "Tapir", "Wombat",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::RoomName;

    #[test]
    fn guests_are_told_apart_and_may_enter_every_room_unstamped() {
        let (one, other) = (make_guest().unwrap(), make_guest().unwrap());
        assert_ne!(one.identity.user, other.identity.user);
        assert!(one.identity.user.as_str().starts_with("guest-"));
        assert_eq!(one.identity.name.split(' ').count(), 2);
        let grant = one.grant(&RoomName::parse("session/42").unwrap()).unwrap();
        assert!(!grant.is_stamped);
        assert!(grant.is_participant);
    }
}
