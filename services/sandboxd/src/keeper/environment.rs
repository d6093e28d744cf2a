//! The environment of the agent's processes: the trace of the call that starts one, then ours, then the session's,
//! then the request's.
//!
//! Values may be secrets of the caller: they are wiped after use and never printed or answered.

use std::collections::BTreeMap;
use std::fmt;

use sandgate_types::{Malformed, RouteName};
use zeroize::Zeroizing;

/// The most entries that a request may add.
pub(crate) const ENTRIES_MAX: usize = 256;
/// The longest name of a variable.
const NAME_MAX_BYTES: usize = 256;
/// The most that names and values of one map may have together; an exec has to carry them.
pub(crate) const TOTAL_MAX_BYTES: usize = 128 * 1024;
/// Where the local listener is, from inside.
pub(crate) const LISTENER: &str = "127.0.0.1:4040";
/// The port of the local listener; nothing is ever dialed there from outside.
pub(crate) const LISTENER_PORT: u16 = 4040;
/// The home of the agent, as the backend mounts it.
const HOME: &str = "/home/agent";
/// The user, as the backend's `/etc/passwd` names them.
const USER: &str = "agent";
/// The trace that a process is started in, by OpenTelemetry's convention for environment variables.
const TRACEPARENT: &str = "TRACEPARENT";
/// Where programs are looked up.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Variables and their values.
#[derive(Clone, Default)]
pub(crate) struct Environment(BTreeMap<String, Zeroizing<String>>);

impl Environment {
    /// Reads what a request adds from its field `field`.
    ///
    /// # Errors
    /// The field, when there are too many entries, they are too long, or a name cannot be one.
    pub(crate) fn parse(
        field: &str,
        entries: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Malformed> {
        let mut parsed = BTreeMap::new();
        let mut bytes = 0;
        for (name, value) in entries {
            let value = Zeroizing::new(value);
            bytes += name.len() + value.len();
            if name.is_empty() || name.len() > NAME_MAX_BYTES || name.contains(['=', '\0']) {
                let rule =
                    format!("must have names of 1 to {NAME_MAX_BYTES} bytes without '=' and NUL");
                return Err(Malformed::new(field, rule));
            }
            if value.contains('\0') {
                return Err(Malformed::new(field, "must have values without NUL"));
            }
            parsed.insert(name, value);
        }
        if parsed.len() > ENTRIES_MAX {
            return Err(Malformed::new(
                field,
                format!("must have at most {ENTRIES_MAX} entries"),
            ));
        }
        if bytes > TOTAL_MAX_BYTES {
            return Err(Malformed::new(
                field,
                format!("must have at most {TOTAL_MAX_BYTES} bytes together"),
            ));
        }
        Ok(Self(parsed))
    }

    /// What every process of a session gets: where things are, and where the gate's routes are.
    pub(crate) fn of_session(routes: &[RouteName], added: Self) -> Self {
        let mut all = BTreeMap::new();
        let fixed = [
            ("HOME", HOME),
            ("USER", USER),
            ("LOGNAME", USER),
            ("PATH", PATH),
            ("LANG", "C.UTF-8"),
        ];
        for (name, value) in fixed {
            all.insert(name.to_owned(), Zeroizing::new(value.to_owned()));
        }
        all.insert(
            "SANDGATE_URL".to_owned(),
            Zeroizing::new(format!("http://{LISTENER}")),
        );
        for route in routes {
            all.insert(
                variable_of(route),
                Zeroizing::new(format!("http://{LISTENER}/r/{route}")),
            );
        }
        all.extend(added.0);
        Self(all)
    }

    /// What a process gets that is started now: the trace, where somebody records it.
    pub(crate) fn of_call() -> Self {
        let parent = sandgate_telemetry::propagation::current_traceparent();
        let parent = parent.map(|parent| (TRACEPARENT.to_owned(), Zeroizing::new(parent)));
        Self(parent.into_iter().collect())
    }

    /// These, and over them what `added` names.
    #[must_use]
    pub(crate) fn with(&self, added: Self) -> Self {
        let mut all = self.0.clone();
        all.extend(added.0);
        Self(all)
    }

    /// Each variable, as `NAME=value`.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Environment({} variables)", self.0.len())
    }
}

/// `SANDGATE_URL_<ROUTE>`: upper case, with `_` for what a variable's name cannot have.
fn variable_of(route: &RouteName) -> String {
    let route = route.as_str().to_ascii_uppercase().replace('-', "_");
    format!("SANDGATE_URL_{route}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get<'a>(environment: &'a Environment, name: &str) -> Option<&'a str> {
        environment
            .pairs()
            .find(|(there, _)| *there == name)
            .map(|(_, value)| value)
    }

    fn parse(entries: &[(&str, &str)]) -> Result<Environment, Malformed> {
        let owned = entries
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Environment::parse("environment", owned)
    }

    #[test]
    fn each_route_has_its_address_in_a_variable_of_its_name() {
        let routes = [RouteName::parse("route", "weather-api").expect("a name")];
        let environment = Environment::of_session(&routes, Environment::default());
        assert_eq!(
            get(&environment, "SANDGATE_URL_WEATHER_API"),
            Some("http://127.0.0.1:4040/r/weather-api")
        );
        assert_eq!(
            get(&environment, "SANDGATE_URL"),
            Some("http://127.0.0.1:4040")
        );
        assert_eq!(get(&environment, "HOME"), Some("/home/agent"));
    }

    #[test]
    fn the_request_wins_over_the_session_and_the_session_over_us() {
        let session = Environment::of_session(
            &[],
            parse(&[("PATH", "/opt/bin"), ("A", "1")]).expect("valid"),
        );
        let request = session.with(parse(&[("A", "2")]).expect("valid"));
        assert_eq!(get(&request, "PATH"), Some("/opt/bin"));
        assert_eq!(get(&request, "A"), Some("2"));
        assert_eq!(get(&session, "A"), Some("1"));
    }

    #[test]
    fn names_and_values_that_exec_cannot_carry_are_refused_by_field() {
        for entries in [[("", "x")], [("A=B", "x")], [("A\0", "x")], [("A", "x\0y")]] {
            assert_eq!(parse(&entries).expect_err("refused").field(), "environment");
        }
        assert!(parse(&[("A", &"x".repeat(TOTAL_MAX_BYTES))]).is_err());
        let many: Vec<_> = (0..=ENTRIES_MAX)
            .map(|n| (format!("V{n}"), String::new()))
            .collect();
        assert!(Environment::parse("environment", many).is_err());
    }

    #[test]
    fn values_are_never_printed() {
        let environment = parse(&[("KEY", "canary")]).expect("valid");
        assert!(!format!("{environment:?}").contains("canary"));
    }
}
