//! Which path asks for what, and which methods it takes.

use warp::http::Method;

use crate::http::HttpOptions;
use crate::http::live_page::File;

/// A path of ours. Names in it are as they came: decoding them is for after the token.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Route {
    /// `/v1/rooms/{room…}/presence`
    RoomPresence { room: String },
    /// `/v1/rooms/{room…}/presence/stream`
    RoomPresenceStream { room: String },
    /// `/v1/rooms/{room…}/document`
    Document { room: String },
    /// `/v1/users/{user_id}/presence`
    UserPresence { user: String },
    /// `/v1/users/{user_id}/presence/stream`
    UserPresenceStream { user: String },
    /// `/v1/users/{user_id}/follows`
    Follows { user: String },
    /// `/v1/users/{user_id}/follows/{other}`
    Follow { user: String, other: String },
    /// `/v1/presence`
    PresenceUnder,
    /// `/v1/presence/stream`
    PresenceUnderStream,
    /// `/v1/presence/heartbeat`
    Heartbeat,
    /// `/v1/presence/leave`
    Leave,
    /// `/v1/revocations`
    Revocations,
    /// `/metrics`
    Metrics,
    /// `/health/live`
    Live,
    /// `/health/ready`
    Ready,
    /// `/openapi.json`
    OpenApi,
    /// `/dev/token`
    DevToken,
    /// `/`, and what its page is made of
    LivePage(File),
    /// `/live/state`
    LiveState,
}

/// The paths that are there only if the operator wants them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wanted {
    /// `/dev/token`.
    pub dev_token: bool,
    /// `/` and all below `/live/`.
    pub live_page: bool,
}

impl Wanted {
    pub fn of(options: &HttpOptions) -> Self {
        Self {
            dev_token: options.is_dev,
            live_page: options.has_live_page,
        }
    }

    /// Whether a path is there.
    pub fn has(self, path: &str) -> bool {
        match path {
            "/dev/token" => self.dev_token,
            "/" => self.live_page,
            _ => self.live_page || !path.starts_with("/live/"),
        }
    }
}

impl Route {
    /// Reads a path without its first slash; `None` if it is not ours.
    pub fn find(path: &str, wanted: Wanted) -> Option<Self> {
        if let Some(rest) = path.strip_prefix("v1/rooms/") {
            return Self::find_in_room(rest);
        }
        if let Some(rest) = path.strip_prefix("v1/users/") {
            let (user, ending) = rest.split_once('/')?;
            let user = user.to_owned();
            return match ending {
                "presence" => Some(Self::UserPresence { user }),
                "presence/stream" => Some(Self::UserPresenceStream { user }),
                "follows" => Some(Self::Follows { user }),
                _ => {
                    let other = ending.strip_prefix("follows/")?;
                    let is_segment = !other.is_empty() && !other.contains('/');
                    let other = other.to_owned();
                    is_segment.then_some(Self::Follow { user, other })
                }
            };
        }
        match path {
            "v1/presence" => Some(Self::PresenceUnder),
            "v1/presence/stream" => Some(Self::PresenceUnderStream),
            "v1/presence/heartbeat" => Some(Self::Heartbeat),
            "v1/presence/leave" => Some(Self::Leave),
            "v1/revocations" => Some(Self::Revocations),
            "metrics" => Some(Self::Metrics),
            "health/live" => Some(Self::Live),
            "health/ready" => Some(Self::Ready),
            "openapi.json" => Some(Self::OpenApi),
            "dev/token" if wanted.dev_token => Some(Self::DevToken),
            "" if wanted.live_page => Some(Self::LivePage(File::Page)),
            "live/style.css" if wanted.live_page => Some(Self::LivePage(File::Style)),
            "live/app.js" if wanted.live_page => Some(Self::LivePage(File::Script)),
            "live/state" if wanted.live_page => Some(Self::LiveState),
            _ => None,
        }
    }

    /// A room's name may itself end in `/presence`: the longest ending is cut off, once.
    fn find_in_room(rest: &str) -> Option<Self> {
        type Make = fn(String) -> Route;
        const ENDINGS: [(&str, Make); 3] = [
            ("/presence/stream", |room| Route::RoomPresenceStream {
                room,
            }),
            ("/presence", |room| Route::RoomPresence { room }),
            ("/document", |room| Route::Document { room }),
        ];
        ENDINGS.iter().find_map(|(ending, make)| {
            let room = rest.strip_suffix(ending)?;
            Some(make(room.into()))
        })
    }

    /// Its name in metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::RoomPresence { .. } => "/v1/rooms/{room}/presence",
            Self::RoomPresenceStream { .. } => "/v1/rooms/{room}/presence/stream",
            Self::Document { .. } => "/v1/rooms/{room}/document",
            Self::UserPresence { .. } => "/v1/users/{user}/presence",
            Self::UserPresenceStream { .. } => "/v1/users/{user}/presence/stream",
            Self::Follows { .. } => "/v1/users/{user}/follows",
            Self::Follow { .. } => "/v1/users/{user}/follows/{other}",
            Self::PresenceUnder => "/v1/presence",
            Self::PresenceUnderStream => "/v1/presence/stream",
            Self::Heartbeat => "/v1/presence/heartbeat",
            Self::Leave => "/v1/presence/leave",
            Self::Revocations => "/v1/revocations",
            Self::Metrics => "/metrics",
            Self::Live => "/health/live",
            Self::Ready => "/health/ready",
            Self::OpenApi => "/openapi.json",
            Self::DevToken => "/dev/token",
            Self::LivePage(File::Page) => "/",
            Self::LivePage(File::Style) => "/live/style.css",
            Self::LivePage(File::Script) => "/live/app.js",
            Self::LiveState => "/live/state",
        }
    }

    /// The methods it takes, `OPTIONS` aside; who takes `GET` takes `HEAD`.
    pub fn methods(&self) -> &'static [Method] {
        match self {
            Self::Document { .. } => &[Method::GET, Method::HEAD, Method::POST],
            Self::Heartbeat | Self::Leave | Self::Revocations | Self::DevToken => &[Method::POST],
            Self::Follows { .. } => &[Method::GET, Method::HEAD, Method::PUT],
            Self::Follow { .. } => &[Method::PUT, Method::DELETE],
            Self::RoomPresence { .. }
            | Self::RoomPresenceStream { .. }
            | Self::UserPresence { .. }
            | Self::UserPresenceStream { .. }
            | Self::PresenceUnder
            | Self::PresenceUnderStream
            | Self::Metrics
            | Self::Live
            | Self::Ready
            | Self::OpenApi
            | Self::LivePage(_)
            | Self::LiveState => &[Method::GET, Method::HEAD],
        }
    }

    /// Whether pages in a browser may call it: their origin is checked and told.
    pub fn is_for_browsers(&self) -> bool {
        match self {
            Self::Metrics | Self::Live | Self::Ready | Self::OpenApi | Self::LivePage(_) => false,
            Self::RoomPresence { .. }
            | Self::RoomPresenceStream { .. }
            | Self::Document { .. }
            | Self::UserPresence { .. }
            | Self::UserPresenceStream { .. }
            | Self::Follows { .. }
            | Self::Follow { .. }
            | Self::PresenceUnder
            | Self::PresenceUnderStream
            | Self::Heartbeat
            | Self::Leave
            | Self::Revocations
            | Self::LiveState
            | Self::DevToken => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(path: &str) -> Option<Route> {
        Route::find(path, Wanted::default())
    }

    #[test]
    fn a_room_path_is_cut_at_its_longest_known_ending() {
        let room = |room: &str| room.to_owned();
        let cases = [
            (
                "v1/rooms/session/42/presence",
                Route::RoomPresence {
                    room: room("session/42"),
                },
            ),
            (
                "v1/rooms/a/presence/presence",
                Route::RoomPresence {
                    room: room("a/presence"),
                },
            ),
            (
                "v1/rooms/a/presence/stream",
                Route::RoomPresenceStream { room: room("a") },
            ),
            (
                "v1/rooms/a%2Fb/document/document",
                Route::Document {
                    room: room("a%2Fb/document"),
                },
            ),
            ("v1/rooms//presence", Route::RoomPresence { room: room("") }),
        ];
        for (path, route) in cases {
            assert_eq!(find(path), Some(route), "{path}");
        }
    }

    #[test]
    fn a_user_is_one_segment() {
        let user = "a%2Fb".to_owned();
        assert_eq!(
            find("v1/users/a%2Fb/presence"),
            Some(Route::UserPresence { user: user.clone() })
        );
        assert_eq!(
            find("v1/users/a%2Fb/presence/stream"),
            Some(Route::UserPresenceStream { user })
        );
        assert_eq!(find("v1/users/a/b/presence"), None);
    }

    #[test]
    fn follows_are_a_list_and_its_entries() {
        let user = "ann".to_owned();
        assert_eq!(
            find("v1/users/ann/follows"),
            Some(Route::Follows { user: user.clone() })
        );
        let other = "b%2Fc".to_owned();
        assert_eq!(
            find("v1/users/ann/follows/b%2Fc"),
            Some(Route::Follow { user, other })
        );
        assert_eq!(find("v1/users/ann/follows/"), None);
        assert_eq!(find("v1/users/ann/follows/b/c"), None);
    }

    #[test]
    fn other_paths_are_left_to_others() {
        for path in [
            "",
            "v1",
            "v1/rooms/",
            "v1/rooms/presence",
            "v1/rooms/a/stream",
            "v1/rooms/a/presence/",
            "v1/users/ann",
            "v1/users/ann/presence/",
            "v1/presence/",
            "v1/presence/event",
            "v1/revocations/x",
            "metrics/",
            "health",
            "dev/token",
            "live/state",
            "live/app.js",
            "sync/a/presence",
        ] {
            assert_eq!(find(path), None, "{path}");
        }
    }

    #[test]
    fn some_paths_are_there_only_if_they_are_wanted() {
        let all = Wanted {
            dev_token: true,
            live_page: true,
        };
        let paths = [
            ("dev/token", Route::DevToken),
            ("", Route::LivePage(File::Page)),
            ("live/app.js", Route::LivePage(File::Script)),
            ("live/style.css", Route::LivePage(File::Style)),
            ("live/state", Route::LiveState),
            ("health/live", Route::Live),
        ];
        for (path, route) in paths {
            let is_there = Wanted::default().has(&format!("/{path}"));
            assert_eq!(find(path).is_some(), is_there, "{path}");
            assert_eq!(Route::find(path, all), Some(route), "{path}");
            assert!(all.has(&format!("/{path}")));
        }
        assert_eq!(Route::find("live", all), None);
        assert_eq!(Route::find("live/", all), None);
    }
}
