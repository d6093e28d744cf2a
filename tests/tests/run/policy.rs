//! `sandgate policy`: what a file says, without a mesh and without making one.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;

use sandgate_e2e::mesh::Home;

const POLICY: &str = "\
version: 1
routes:
- name: dictionary
  http: { path_prefix: /define, methods: [GET] }
  operation: lookup
  tenants: [default]
  upstream: { url: 'http://127.0.0.1:9001/base' }
  identity: { headers: { x-user: user } }
  forward: { query: [word] }
  credential: { header: x-key, file: key }
";

/// A policy, its credential, and answers about it.
struct Scene(Home);

impl Scene {
    fn with(policy: &str) -> Self {
        let home = Home::new();
        let at = |name: &str| home.path().join(name);
        std::fs::write(at("policy.yaml"), policy).expect("write");
        std::fs::write(at("key"), "upstream-secret").expect("write");
        let owner_only = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(at("key"), owner_only).expect("chmod");
        Self(home)
    }

    fn ask(&self, verb: &str, rest: &[&str]) -> (Output, String) {
        let file = self.0.path().join("policy.yaml").display().to_string();
        let mut arguments = vec!["policy", verb, file.as_str()];
        arguments.extend(rest);
        let output = self.0.sandgate(arguments).output().expect("start sandgate");
        let said = [output.stdout.clone(), output.stderr.clone()].concat();
        (output, String::from_utf8(said).expect("text"))
    }
}

#[test]
fn a_policy_is_checked_whole_and_makes_no_mesh() {
    let good = Scene::with(POLICY);
    let (output, said) = good.ask("check", &[]);
    assert!(output.status.success(), "{said}");
    assert_eq!(said, "a gate takes it; routes: 1\n");
    assert!(!good.0.path().join("data").exists(), "no mesh was made");
    let bad = POLICY.replace("GET", "FETCH").replace("lookup", "Look Up");
    let (output, said) = Scene::with(&bad).ask("check", &[]);
    assert_eq!(output.status.code(), Some(1));
    for problem in [
        "http.methods[0] must be GET",
        "(line 4)",
        "operation must",
        "(line 5)",
    ] {
        assert!(said.contains(problem), "{problem} in {said}");
    }
}

#[test]
fn a_change_of_a_policy_says_what_it_lets_in() {
    let scene = Scene::with(POLICY);
    let old = scene.0.path().join("old.yaml");
    std::fs::write(&old, POLICY.replace("[GET]", "[GET, POST]")).expect("write");
    let old = old.display().to_string();
    let new = scene.0.path().join("policy.yaml").display().to_string();
    let said = |old: &str, new: &str| {
        let arguments = ["policy", "diff", old, new];
        let output = scene
            .0
            .sandgate(arguments)
            .output()
            .expect("start sandgate");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    };
    assert_eq!(said(&old, &new), "dictionary http.methods: narrows\n");
    assert_eq!(said(&new, &old), "dictionary http.methods: widens\n");
    assert_eq!(said(&new, &new), "");
}

#[test]
fn a_request_is_explained_by_its_route_or_by_the_line_that_refuses_it() {
    let scene = Scene::with(POLICY);
    let (output, said) = scene.ask("explain", &["/r/dictionary/define?word=x", "--user", "ann"]);
    assert!(output.status.success(), "{said}");
    let allowed = "allowed by route dictionary: GET http://127.0.0.1:9001/base/define?word=x\n";
    assert!(said.starts_with(allowed), "{said}");
    assert!(
        said.contains("x-user: ann") && said.contains("x-key: (the credential)"),
        "{said}"
    );
    assert!(!said.contains("upstream-secret"));
    for (arguments, refused) in [
        (
            &["/r/dictionary/define?user=x"][..],
            "refused by route dictionary, QUERY_UNLISTED: forward.query: a query parameter is not in the route's list (line 9)\n",
        ),
        (
            &["/r/dictionary/define", "-X", "POST"],
            "refused by route dictionary, METHOD_NOT_ALLOWED: http.methods: the route does not serve this method (line 4)\n",
        ),
        // What the session may not use is not there.
        (
            &["/r/dictionary/define", "--operation", "other"],
            "refused, ROUTE_UNKNOWN: there is no route of this name or method that the session may use\n",
        ),
    ] {
        let (output, said) = scene.ask("explain", arguments);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert_eq!(said, refused);
    }
}
