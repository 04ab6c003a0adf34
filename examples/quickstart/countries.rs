//! The source of truth: a table in SQLite.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use sqlx::SqlitePool;
use sqlx::sqlite::SqlitePoolOptions;

const CSV: &str = include_str!("../data/countries.csv");

/// What a cache miss costs.
pub(crate) const QUERY: &str = "SELECT alpha2, alpha3, name, capital FROM country WHERE alpha2 = ?";

/// One row.
#[derive(Debug, Serialize, Deserialize, sqlx::FromRow)]
pub(crate) struct Country {
    pub(crate) alpha2: String,
    pub(crate) alpha3: String,
    pub(crate) name: String,
    pub(crate) capital: String,
}

/// The table, and how often it was asked for a row.
#[derive(Clone)]
pub(crate) struct Countries {
    pool: SqlitePool,
    queries: Arc<AtomicU64>,
}

impl Countries {
    pub(crate) async fn open() -> Result<Self, Box<dyn Error>> {
        // One connection: each connection to `:memory:` is a database of its own.
        let pool = SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await?;
        sqlx::query("CREATE TABLE country (alpha2 TEXT PRIMARY KEY, alpha3 TEXT, name TEXT, capital TEXT)")
            .execute(&pool)
            .await?;
        let mut transaction = pool.begin().await?;
        for row in csv::Reader::from_reader(CSV.as_bytes()).deserialize() {
            let country: Country = row?;
            sqlx::query("INSERT INTO country VALUES (?, ?, ?, ?)")
                .bind(&country.alpha2)
                .bind(&country.alpha3)
                .bind(&country.name)
                .bind(&country.capital)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(Self { pool, queries: Arc::default() })
    }

    pub(crate) async fn find(&self, alpha2: &str) -> Result<Country, sqlx::Error> {
        self.queries.fetch_add(1, Ordering::Relaxed);
        sqlx::query_as(QUERY).bind(alpha2).fetch_one(&self.pool).await
    }

    pub(crate) async fn codes(&self) -> Result<Vec<String>, sqlx::Error> {
        sqlx::query_scalar("SELECT alpha2 FROM country ORDER BY alpha2").fetch_all(&self.pool).await
    }

    pub(crate) async fn count(&self) -> Result<i64, sqlx::Error> {
        sqlx::query_scalar("SELECT count(*) FROM country").fetch_one(&self.pool).await
    }

    pub(crate) fn queries(&self) -> u64 {
        self.queries.load(Ordering::Relaxed)
    }
}
