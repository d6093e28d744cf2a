//! Where a database is, as an operator says it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use sandgate_types::Malformed;
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::postgres::{PgConnectOptions, PgSslMode};

/// The field that is named where a URL is refused.
const FIELD: &str = "database";
const RULE: &str = "must be `sqlite:<path>` or `postgres://<user>@<host>/<database>`";
const TLS_RULE: &str = "must have sslmode=verify-full, for a server that is not on this machine (its certificate's name is checked)";
const LOOPBACK: [&str; 4] = ["localhost", "127.0.0.1", "::1", "[::1]"];

/// The URL of a database: `sqlite:<path>` or `postgres://…`. It may hold a password, so nobody sees it whole.
#[derive(Clone)]
pub struct DatabaseUrl {
    pub(crate) place: Place,
    /// Who migrates, where that is somebody else.
    pub(crate) owner: Option<Box<Place>>,
}

#[derive(Clone)]
pub(crate) enum Place {
    Sqlite(PathBuf),
    Postgres(Box<PgConnectOptions>),
}

impl DatabaseUrl {
    /// A SQLite database in this file.
    pub fn sqlite(path: impl Into<PathBuf>) -> Self {
        Self {
            place: Place::Sqlite(path.into()),
            owner: None,
        }
    }

    fn postgres(options: PgConnectOptions) -> Self {
        Self {
            place: Place::Postgres(Box::new(options)),
            owner: None,
        }
    }

    /// Parses a URL. The path of a SQLite URL may be relative.
    ///
    /// # Errors
    /// When it is neither kind, or names a server elsewhere without verified TLS. The text never repeats the URL.
    pub fn parse(url: &SecretString) -> Result<Self, Malformed> {
        let url = url.expose_secret();
        let refuse = |rule: &str| Malformed::new(FIELD, rule);
        if let Some(path) = url.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() || path.contains('?') || path.starts_with(':') {
                return Err(refuse(RULE));
            }
            return Ok(Self::sqlite(path));
        }
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(refuse(RULE));
        }
        // Its errors repeat parts of the URL.
        let options = PgConnectOptions::from_str(url).map_err(|_| refuse(RULE))?;
        let here = options.get_socket().is_some()
            || options.get_host().starts_with('/')
            || LOOPBACK.contains(&options.get_host());
        let options = match mode(url) {
            None => options.ssl_mode(PgSslMode::VerifyFull),
            Some("verify-full") => options,
            Some(_) if here => options,
            Some(_) => return Err(refuse(TLS_RULE)),
        };
        Ok(Self::postgres(options))
    }

    /// The same database, migrated by the role of `owner`: so the role of the service owns no table.
    ///
    /// # Errors
    /// When one is SQLite, which has no roles.
    pub fn migrated_by(mut self, owner: Self) -> Result<Self, Malformed> {
        match (&self.place, owner.place) {
            (Place::Postgres(_), place @ Place::Postgres(_)) => {
                self.owner = Some(Box::new(place));
                Ok(self)
            }
            (Place::Sqlite(_), _) | (_, Place::Sqlite(_)) => Err(Malformed::new(
                FIELD,
                "must be of Postgres, where another role migrates it",
            )),
        }
    }

    /// The same database, as the role that migrates it.
    pub fn owner(&self) -> Option<Self> {
        self.owner.as_ref().map(|owner| Self {
            place: (**owner).clone(),
            owner: None,
        })
    }

    /// The file, where it is SQLite.
    pub fn file(&self) -> Option<&Path> {
        match &self.place {
            Place::Sqlite(path) => Some(path),
            Place::Postgres(_) => None,
        }
    }
}

/// What the URL itself says about TLS.
fn mode(url: &str) -> Option<&str> {
    let (_, query) = url.split_once('?')?;
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .filter(|(key, _)| *key == "sslmode" || *key == "ssl-mode")
        .map(|(_, value)| value)
        .next_back()
}

impl FromStr for DatabaseUrl {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        Self::parse(&SecretString::from(text))
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Place::Postgres(options) => write!(
                f,
                "postgres://{}:{}/{}",
                options.get_host(),
                options.get_port(),
                options.get_database().unwrap_or_default()
            ),
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        let url: DatabaseUrl = "postgres://me:hunter2@127.0.0.1/db?sslmode=disable"
            .parse()
            .expect("a URL");
        assert_eq!(
            format!("{url:?} {url}"),
            "postgres://127.0.0.1:5432/db postgres://127.0.0.1:5432/db"
        );
        let refused = "postgres://me:hunter2@elsewhere/db?sslmode=require".parse::<DatabaseUrl>();
        assert!(!format!("{:?}", refused.expect_err("no TLS")).contains("hunter2"));
    }

    #[test]
    fn a_server_elsewhere_must_prove_its_name() {
        for mode in ["disable", "allow", "prefer", "require", "verify-ca"] {
            for text in [
                format!("postgres://me@db.example/db?sslmode={mode}"),
                format!("postgres://me@db.example/db?sslmode=verify-full&sslmode={mode}"),
            ] {
                let refused = text.parse::<DatabaseUrl>().expect_err(&text);
                assert_eq!(refused.rule(), TLS_RULE);
            }
        }
        assert!("postgres://me@db.example/db".parse::<DatabaseUrl>().is_ok());
        assert!(
            "postgres://me@127.0.0.1/db?sslmode=disable"
                .parse::<DatabaseUrl>()
                .is_ok()
        );
    }

    #[test]
    fn what_is_no_database_is_refused() {
        for text in [
            "",
            "sqlite:",
            "sqlite::memory:",
            "sqlite:a?mode=memory",
            "mysql://a/b",
            "/var/lib/x.db",
        ] {
            assert_eq!(text.parse::<DatabaseUrl>().expect_err(text).rule(), RULE);
        }
    }
}
