//! A client of 2024: the `y-sync` crate with the yrs it was made for, on the y-websocket door.

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Message as WsMessage;
use y_sync::awareness::Awareness;
use y_sync::sync::{DefaultProtocol, Message, Protocol, SyncMessage};
use yrs_2024::updates::decoder::Decode;
use yrs_2024::updates::encoder::{Encode, Encoder, EncoderV1};
use yrs_2024::{Doc, GetString, Map, OffsetKind, Options, Text, Transact, Update};

use crate::support::relay::Relay;
use crate::support::time::{PATIENCE, within};

/// Reads only while the test waits for something.
pub struct OldClient {
    socket: WebSocketStream<TcpStream>,
    pub awareness: Awareness,
    is_synced: bool,
}

impl OldClient {
    pub async fn join(relay: &Relay, room: &str, token: &str, client: u64, state: &str) -> Self {
        let options = Options {
            offset_kind: OffsetKind::Utf16,
            ..Options::with_client_id(client)
        };
        let doc = Doc::with_options(options);
        doc.get_or_insert_text("text");
        doc.get_or_insert_map("map");
        let mut awareness = Awareness::new(doc);
        awareness.set_local_state(state);
        let tcp = TcpStream::connect(relay.address).await.unwrap();
        let url = format!("ws://{}/sync/{room}?token={token}", relay.address);
        let (socket, _) = tokio_tungstenite::client_async(url, tcp).await.unwrap();
        let mut client = Self {
            socket,
            awareness,
            is_synced: false,
        };
        // The crate's own greeting, one message per frame.
        let mut encoder = EncoderV1::new();
        DefaultProtocol
            .start(&client.awareness, &mut encoder)
            .unwrap();
        let greeting = encoder.to_vec();
        let mut decoder = yrs_2024::updates::decoder::DecoderV1::from(greeting.as_slice());
        let messages: Vec<_> = y_sync::sync::MessageReader::new(&mut decoder).collect();
        assert_eq!(messages.len(), 2);
        for message in messages {
            client.send(message.unwrap()).await;
        }
        client
            .until("the document", |client| client.is_synced)
            .await;
        client
    }

    async fn send(&mut self, message: Message) {
        let frame = WsMessage::binary(Bytes::from(message.encode_v1()));
        self.socket.send(frame).await.unwrap();
    }

    pub fn text(&self) -> String {
        let text = self.awareness.doc().get_or_insert_text("text");
        text.get_string(&self.awareness.doc().transact())
    }

    pub fn map_value(&self, key: &str) -> Option<String> {
        let map = self.awareness.doc().get_or_insert_map("map");
        let transaction = self.awareness.doc().transact();
        map.get(&transaction, key)
            .map(|value| value.to_string(&transaction))
    }

    /// Inserts at the beginning.
    pub async fn write_first(&mut self, words: &str) {
        let text = self.awareness.doc().get_or_insert_text("text");
        let update = {
            let mut transaction = self.awareness.doc().transact_mut();
            text.insert(&mut transaction, 0, words);
            transaction.encode_update_v1()
        };
        self.send(Message::Sync(SyncMessage::Update(update))).await;
    }

    /// Removes the first characters.
    pub async fn remove_first(&mut self, count: u32) {
        let text = self.awareness.doc().get_or_insert_text("text");
        let update = {
            let mut transaction = self.awareness.doc().transact_mut();
            text.remove_range(&mut transaction, 0, count);
            transaction.encode_update_v1()
        };
        self.send(Message::Sync(SyncMessage::Update(update))).await;
    }

    /// Reads until something holds; fails naming it.
    pub async fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        within(PATIENCE, what, async {
            while !holds(self) {
                let frame = self
                    .socket
                    .next()
                    .await
                    .expect("the relay hung up")
                    .unwrap();
                if let WsMessage::Binary(bytes) = frame {
                    self.receive(&bytes).await;
                }
            }
        })
        .await;
    }

    async fn receive(&mut self, frame: &[u8]) {
        let protocol = DefaultProtocol;
        let message = Message::decode_v1(frame).expect("y-sync cannot read the relay's message");
        let answer = match message {
            Message::Sync(SyncMessage::SyncStep1(state_vector)) => {
                protocol.handle_sync_step1(&self.awareness, state_vector)
            }
            Message::Sync(SyncMessage::SyncStep2(update)) => {
                self.is_synced = true;
                let update = Update::decode_v1(&update).expect("yrs 0.17 cannot read the update");
                protocol.handle_sync_step2(&mut self.awareness, update)
            }
            Message::Sync(SyncMessage::Update(update)) => {
                let update = Update::decode_v1(&update).expect("yrs 0.17 cannot read the update");
                protocol.handle_update(&mut self.awareness, update)
            }
            Message::Awareness(update) => {
                protocol.handle_awareness_update(&mut self.awareness, update)
            }
            Message::AwarenessQuery => protocol.handle_awareness_query(&self.awareness),
            Message::Auth(reason) => protocol.handle_auth(&self.awareness, reason),
            Message::Custom(tag, _) => panic!("y-sync does not know type {tag}"),
        };
        if let Some(answer) = answer.unwrap() {
            self.send(answer).await;
        }
    }

    /// Drops the connection without a word.
    pub async fn leave(mut self) {
        self.socket.close(None).await.unwrap();
    }
}
