//! The policy in force, and how a newer one takes its place: whole, or not at all.
//!
//! The file, the files that it names and the roots of upstreams are looked at every two seconds. A policy that cannot be served
//! changes nothing and is told in the log; the last good one goes on. Routes that did not change keep their
//! connections and what their limits have counted.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, RwLock};
use sandgate_egress::{Dialing, Roots, Scheme};
use sandgate_policy::{Matching, parse, read, with_lines};
use sandgate_rpc::Fingerprint;
use sandgate_types::{Malformed, RouteName, Violations};

use super::{Policy, Route};

/// The policy in force.
#[derive(Debug)]
pub(crate) struct Policies {
    file: Option<PathBuf>,
    dialing: Dialing,
    current: RwLock<Arc<Policy>>,
    /// What the files looked like when they were last read.
    seen: Mutex<Fingerprint>,
    /// Whether the policy in force is still proven by roots that are not in force any more.
    anew: AtomicBool,
}

/// By which roots upstreams are verified, beside the last time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rooted {
    /// By the same.
    AsBefore,
    /// By others.
    Anew,
}

/// What came of looking.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Loaded {
    /// Nothing has changed.
    Same,
    /// A newer policy is in force.
    Newer {
        /// How many routes it has.
        routes: usize,
    },
    /// What is there cannot be served; the last good one goes on.
    Refused(Violations),
}

impl Policies {
    /// Reads the policy with which the gate starts; without a file, nothing is allowed.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub(crate) fn start(file: Option<PathBuf>, dialing: Dialing) -> Result<Self, Violations> {
        let policies = Self {
            file,
            dialing,
            current: RwLock::new(Arc::new(Policy::default())),
            seen: Mutex::default(),
            anew: AtomicBool::new(false),
        };
        if let Some(file) = &policies.file {
            policies.take(file, Rooted::AsBefore)?;
        }
        Ok(policies)
    }

    /// The policy in force.
    pub(crate) fn current(&self) -> Arc<Policy> {
        Arc::clone(&self.current.read())
    }

    /// Looks whether the files have changed, and takes what is there.
    pub(crate) fn look(&self) -> Loaded {
        let Some(file) = &self.file else {
            return Loaded::Same;
        };
        let newer_roots = match self.dialing.roots.as_ref().map(Roots::look) {
            None => false,
            Some(Ok(newer)) => newer,
            Some(Err(malformed)) => return Loaded::Refused(malformed.into()),
        };
        let before = self.seen.lock().clone();
        if before == before.again() && !newer_roots {
            return Loaded::Same;
        }
        // Newer roots are seen once; a policy that cannot be served now must not make them forgotten.
        let anew = self.anew.fetch_or(newer_roots, Ordering::Relaxed) || newer_roots;
        let rooted = if anew { Rooted::Anew } else { Rooted::AsBefore };
        match self.take(file, rooted) {
            Ok(routes) => {
                self.anew.store(false, Ordering::Relaxed);
                Loaded::Newer { routes }
            }
            Err(violations) => Loaded::Refused(violations),
        }
    }

    fn take(&self, file: &Path, rooted: Rooted) -> Result<usize, Violations> {
        // Looked at before it is read: what is written meanwhile is seen the next time.
        let mut paths = BTreeSet::from([file.to_owned()]);
        *self.seen.lock() = Fingerprint::of(&paths);
        let text = read(file)?;
        let folder = file.parent().unwrap_or(Path::new("."));
        paths.extend(files_of(&text, folder));
        *self.seen.lock() = Fingerprint::of(&paths);
        let specs = parse(&text, folder, self.dialing.roots.is_some())?;
        let old = self.current();
        let mut violations = Violations::new();
        let mut routes = Vec::with_capacity(specs.len());
        for (index, spec) in specs.into_iter().enumerate() {
            if spec.upstream.is_literal_loopback() && !self.dialing.loopback {
                let rule = "must not be a loopback address: loopback_upstreams is off";
                let place = format!("routes[{index}].upstream.url");
                violations.push(Malformed::new(place, rule));
            }
            // A connection that was made under other roots is not used any more.
            let proven = rooted == Rooted::AsBefore || spec.upstream.scheme == Scheme::Http;
            let kept = old.route(&spec.name).filter(|_| proven);
            let kept = kept.filter(|route| route.spec == spec);
            routes.push(
                kept.cloned()
                    .unwrap_or_else(|| Arc::new(Route::new(spec, self.dialing.clone()))),
            );
        }
        let routes = violations
            .or(routes)
            .map_err(|violations| with_lines(&violations, &text))?;
        let count = routes.len();
        *self.current.write() = Arc::new(Policy::new(routes));
        Ok(count)
    }

    /// The HTTP routes that a session may use, for its environment.
    pub(crate) fn http_routes_of(&self, claims: &sandgate_session::Claims) -> Vec<RouteName> {
        let policy = self.current();
        let mut names: Vec<RouteName> = policy
            .routes()
            .filter(|route| matches!(route.spec.matching, Matching::Http { .. }))
            .filter(|route| {
                route.spec.is_open_to(&claims.tenant) && claims.may(&route.spec.operation)
            })
            .map(|route| route.spec.name.clone())
            .collect();
        names.sort();
        names
    }

    /// Drops what limits remember of sandboxes that are gone.
    pub(crate) fn shrink(&self) {
        for route in self.current().routes() {
            if let Some(limiter) = &route.limiter {
                limiter.shrink();
            }
        }
    }
}

/// The files that a policy names, so that a change of one is noticed. What is malformed is found by `parse`.
fn files_of(text: &str, folder: &Path) -> BTreeSet<PathBuf> {
    let document: serde_yaml_ng::Value = serde_yaml_ng::from_str(text).unwrap_or_default();
    let routes = document
        .get("routes")
        .and_then(|routes| routes.as_sequence());
    let named = |route: &serde_yaml_ng::Value, section: &str, key: &str| {
        let file = route.get(section)?.get(key)?.as_str()?;
        Some(folder.join(file))
    };
    let files = routes.into_iter().flatten().flat_map(|route| {
        let within = |kind: &str| named(route.get("credential")?, kind, "file");
        let credential = named(route, "credential", "file");
        credential
            .into_iter()
            .chain(["basic", "oauth2"].into_iter().filter_map(within))
            .chain(named(route, "grpc", "descriptor_set"))
    });
    files.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "version: 1
routes:
- name: a
  http: { methods: [GET] }
  operation: op
  upstream: { url: 'http://127.0.0.1:1' }
";

    fn dialing() -> Dialing {
        Dialing {
            loopback: true,
            ..Dialing::default()
        }
    }

    #[test]
    fn a_newer_policy_takes_its_place_and_a_broken_one_does_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("policy.yaml");
        std::fs::write(&file, ONE).expect("write");
        let policies = Policies::start(Some(file.clone()), dialing()).expect("a policy");
        let route = |name: &str| {
            let name = RouteName::parse("name", name).expect("a name");
            policies.current().route(&name).cloned()
        };
        let first = route("a").expect("the route");
        assert_eq!(policies.look(), Loaded::Same);

        std::fs::write(&file, format!("{ONE}oops: 1\n")).expect("write");
        assert!(matches!(policies.look(), Loaded::Refused(_)));
        assert!(Arc::ptr_eq(&first, &route("a").expect("the last good one")));
        assert_eq!(policies.look(), Loaded::Same);

        let two = ONE
            .replace("name: a", "name: b")
            .replace("version: 1\nroutes:\n", ONE);
        std::fs::write(&file, two).expect("write");
        assert_eq!(policies.look(), Loaded::Newer { routes: 2 });
        assert!(Arc::ptr_eq(&first, &route("a").expect("unchanged")));
        assert!(route("b").is_some());
    }

    #[test]
    fn a_changed_credential_makes_another_route() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        let (file, key) = (folder.path().join("policy.yaml"), folder.path().join("key"));
        std::fs::write(&key, "one").expect("write");
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).expect("chmod");
        let text = format!("{ONE}  tenants: [t]\n  credential: {{ header: x-key, file: key }}\n");
        std::fs::write(&file, text).expect("write");
        let policies = Policies::start(Some(file), dialing()).expect("a policy");
        std::fs::write(&key, "another").expect("write");
        assert_eq!(policies.look(), Loaded::Newer { routes: 1 });
        let current = policies.current();
        let route = current.routes().next().expect("the route");
        let credential = route.spec.credential.as_ref().expect("a credential");
        let sandgate_policy::CredentialSource::Known(value) = &credential.source else {
            panic!("{credential:?}");
        };
        assert_eq!(value.secrets().next(), Some("another"));
    }

    #[test]
    fn newer_roots_are_not_forgotten_while_the_policy_is_broken() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let (file, pem) = (at("policy.yaml"), at("roots.pem"));
        let root = || {
            let key = rcgen::KeyPair::generate().expect("a key");
            let mut params = rcgen::CertificateParams::default();
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            params.self_signed(&key).expect("a root").pem()
        };
        let policy = ONE.replace("http://127.0.0.1:1", "https://127.0.0.1:1");
        std::fs::write(&file, &policy).expect("write");
        std::fs::write(&pem, root()).expect("write");
        let dialing = Dialing {
            roots: Some(Roots::read("upstream_roots", &pem).expect("roots")),
            ..dialing()
        };
        let policies = Policies::start(Some(file.clone()), dialing).expect("a policy");
        let first = policies
            .current()
            .routes()
            .next()
            .cloned()
            .expect("the route");

        std::fs::write(&pem, root() + &root()).expect("write");
        std::fs::write(&file, format!("{policy}oops: 1\n")).expect("write");
        assert!(matches!(policies.look(), Loaded::Refused(_)));
        std::fs::write(&file, &policy).expect("write");
        assert_eq!(policies.look(), Loaded::Newer { routes: 1 });
        let second = policies
            .current()
            .routes()
            .next()
            .cloned()
            .expect("the route");
        assert!(
            !Arc::ptr_eq(&first, &second),
            "its connections rest on the old roots"
        );
    }
}
