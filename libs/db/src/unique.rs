//! Names of unique constraints on SQLite, which reports columns where Postgres reports a name.
//!
//! Indexes keep their names; constraints within a table get those that Postgres would give them.

use std::collections::HashMap;
use std::sync::Arc;

use sqlx::{Row as _, SqliteConnection};

/// From the columns, as SQLite lists them, to the names of the indexes over them.
#[derive(Debug, Clone, Default)]
pub(crate) struct UniqueNames(Arc<HashMap<String, Vec<Arc<str>>>>);

const COLUMNS: &str = "
    SELECT m.name AS table_name, l.name AS index_name, l.origin AS origin, i.name AS column_name
    FROM sqlite_master AS m, pragma_index_list(m.name) AS l, pragma_index_info(l.name) AS i
    WHERE m.type = 'table' AND l.\"unique\" = 1 AND i.name IS NOT NULL
    ORDER BY m.name, l.name, i.seqno";
/// A primary key of one integer has no index.
const ROW_IDS: &str = "
    SELECT m.name AS table_name, t.name AS column_name
    FROM sqlite_master AS m, pragma_table_info(m.name) AS t
    WHERE m.type = 'table' AND t.pk > 0";
/// What SQLite writes before the columns, and before an index over expressions.
const PREFIX: &str = "UNIQUE constraint failed: ";
const INDEX_PREFIX: &str = "index '";

impl UniqueNames {
    /// Reads them from an open SQLite database.
    pub(crate) async fn read(connection: &mut SqliteConnection) -> Result<Self, sqlx::Error> {
        let mut indexes: Vec<(String, String, String, Vec<String>)> = Vec::new();
        for row in sqlx::query(COLUMNS).fetch_all(&mut *connection).await? {
            let (table, index): (String, String) =
                (row.try_get("table_name")?, row.try_get("index_name")?);
            let column: String = row.try_get("column_name")?;
            match indexes.last_mut() {
                Some((_, last, _, columns)) if *last == index => columns.push(column),
                _ => indexes.push((table, index, row.try_get("origin")?, vec![column])),
            }
        }
        let mut names: HashMap<String, Vec<Arc<str>>> = HashMap::new();
        for (table, index, origin, columns) in indexes {
            let name = match origin.as_str() {
                "pk" => format!("{table}_pkey"),
                "u" => format!("{table}_{}_key", columns.join("_")),
                _ => index,
            };
            let listed: Vec<String> = columns
                .iter()
                .map(|column| format!("{table}.{column}"))
                .collect();
            names
                .entry(listed.join(", "))
                .or_default()
                .push(name.into());
        }
        for row in sqlx::query(ROW_IDS).fetch_all(&mut *connection).await? {
            let (table, column): (String, String) =
                (row.try_get("table_name")?, row.try_get("column_name")?);
            names
                .entry(format!("{table}.{column}"))
                .or_insert_with(|| vec![format!("{table}_pkey").into()]);
        }
        Ok(Self(Arc::new(names)))
    }

    /// The constraints that a violation may be of: Postgres names it, SQLite says it in its message.
    pub(crate) fn violated(&self, constraint: Option<&str>, message: &str) -> Vec<Arc<str>> {
        if let Some(name) = constraint {
            return vec![name.into()];
        }
        let Some((_, listed)) = message.split_once(PREFIX) else {
            return vec!["".into()];
        };
        if let Some(index) = listed.strip_prefix(INDEX_PREFIX) {
            return vec![index.trim_end_matches('\'').into()];
        }
        self.0
            .get(listed)
            .cloned()
            .unwrap_or_else(|| vec![listed.into()])
    }
}
