//! The API described for programs, in OpenAPI 3.1: `openapi.json` beside this file.

use serde_json::Value;

use crate::http::route::Wanted;

const DESCRIPTION: &str = include_str!("openapi.json");

/// The description of what this relay answers.
pub(super) fn describe(wanted: Wanted) -> String {
    let with_what_is_there = || -> Option<String> {
        let mut description: Value = serde_json::from_str(DESCRIPTION).ok()?;
        let paths = description["paths"].as_object_mut()?;
        paths.retain(|path, _| wanted.has(path));
        serde_json::to_string(&description).ok()
    };
    with_what_is_there().unwrap_or_else(|| DESCRIPTION.to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use warp::http::Method;

    use super::*;
    use crate::http::live_page::File;
    use crate::http::route::Route;

    const ALL: Wanted = Wanted {
        dev_token: true,
        live_page: true,
    };

    fn paths(wanted: Wanted) -> BTreeMap<String, Vec<String>> {
        let description: Value = serde_json::from_str(&describe(wanted)).unwrap();
        assert_eq!(description["info"]["version"], env!("CARGO_PKG_VERSION"));
        let paths = description["paths"].as_object().unwrap();
        let methods = |path: &Value| {
            let keys = path.as_object().unwrap().keys();
            let methods = keys.filter(|key| *key != "parameters");
            methods.map(|key| key.to_ascii_uppercase()).collect()
        };
        paths
            .iter()
            .map(|(path, item)| (path.clone(), methods(item)))
            .collect()
    }

    /// Every route with its methods, `HEAD` aside.
    fn routes() -> BTreeMap<String, Vec<String>> {
        let all = std::iter::successors(after(None), |route| after(Some(route)));
        all.map(|route| {
            let described = route
                .methods()
                .iter()
                .filter(|method| *method != Method::HEAD);
            let mut methods: Vec<_> = described.map(Method::to_string).collect();
            methods.sort_unstable();
            (route.name().to_owned(), methods)
        })
        .collect()
    }

    /// Walks through all routes. A new one does not compile until it is put in line here.
    fn after(route: Option<&Route>) -> Option<Route> {
        let [room, user, other] = [const { String::new() }; 3];
        Some(match route {
            None => Route::RoomPresence { room },
            Some(Route::RoomPresence { .. }) => Route::RoomPresenceStream { room },
            Some(Route::RoomPresenceStream { .. }) => Route::Document { room },
            Some(Route::Document { .. }) => Route::UserPresence { user },
            Some(Route::UserPresence { .. }) => Route::UserPresenceStream { user },
            Some(Route::UserPresenceStream { .. }) => Route::Follows { user },
            Some(Route::Follows { .. }) => Route::Follow { user, other },
            Some(Route::Follow { .. }) => Route::PresenceUnder,
            Some(Route::PresenceUnder) => Route::PresenceUnderStream,
            Some(Route::PresenceUnderStream) => Route::Heartbeat,
            Some(Route::Heartbeat) => Route::Leave,
            Some(Route::Leave) => Route::Revocations,
            Some(Route::Revocations) => Route::Metrics,
            Some(Route::Metrics) => Route::Live,
            Some(Route::Live) => Route::Ready,
            Some(Route::Ready) => Route::OpenApi,
            Some(Route::OpenApi) => Route::DevToken,
            Some(Route::DevToken) => Route::LivePage(File::Page),
            Some(Route::LivePage(File::Page)) => Route::LivePage(File::Style),
            Some(Route::LivePage(File::Style)) => Route::LivePage(File::Script),
            Some(Route::LivePage(File::Script)) => Route::LiveState,
            Some(Route::LiveState) => return None,
        })
    }

    #[test]
    fn every_route_is_described_with_its_methods_and_nothing_else_is() {
        let mut described = paths(ALL);
        for methods in described.values_mut() {
            methods.sort_unstable();
        }
        assert_eq!(described, routes());
    }

    #[test]
    fn what_may_not_be_there_is_described_where_it_is() {
        let missing = |wanted: Wanted| {
            let here = paths(wanted);
            let all = paths(ALL).into_keys();
            all.filter(|path| !here.contains_key(path))
                .collect::<Vec<_>>()
        };
        let only_page = Wanted {
            dev_token: false,
            ..ALL
        };
        assert_eq!(missing(only_page), ["/dev/token"]);
        let only_token = Wanted {
            live_page: false,
            ..ALL
        };
        let page = ["/", "/live/app.js", "/live/state", "/live/style.css"];
        assert_eq!(missing(only_token), page);
    }

    #[test]
    fn every_name_referred_to_exists() {
        let description: Value = serde_json::from_str(DESCRIPTION).unwrap();
        let references = DESCRIPTION.split("\"$ref\": \"#").skip(1);
        let mut count = 0;
        for rest in references {
            let pointer = rest.split('"').next().unwrap();
            assert!(description.pointer(pointer).is_some(), "{pointer}");
            count += 1;
        }
        assert!(50 < count);
    }
}
