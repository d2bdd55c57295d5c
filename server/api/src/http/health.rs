//! `/health`, `/livez` and `/readyz`.

use http::{StatusCode, Uri};
use percent_encoding::percent_decode_str;
use quorate_proto::etcdserverpb::AlarmType;

use super::{PLAIN, Page, Pages, not_found, page};
use crate::error::ApiError;
use crate::ops::range::internal_range;

/// A check of `/livez` or `/readyz`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    DataCorruption,
    SerializableRead,
    LinearizableRead,
    NonLearner,
}

impl Check {
    const LIVEZ: [Self; 1] = [Self::SerializableRead];
    const READYZ: [Self; 4] =
        [Self::DataCorruption, Self::SerializableRead, Self::LinearizableRead, Self::NonLearner];

    fn name(self) -> &'static str {
        match self {
            Self::DataCorruption => "data_corruption",
            Self::SerializableRead => "serializable_read",
            Self::LinearizableRead => "linearizable_read",
            Self::NonLearner => "non_learner",
        }
    }
}

/// The decoded values of a query parameter. A parameter without `=` has an empty value.
fn query<'a>(uri: &'a Uri, name: &'a str) -> impl Iterator<Item = String> {
    let pairs = uri.query().unwrap_or_default().split('&');
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let values = pairs.filter(move |(key, _)| *key == name).map(|(_, value)| value);
    values.map(|value| percent_decode_str(&value.replace('+', " ")).decode_utf8_lossy().into())
}

/// The page, `livez` or `readyz`, and the checks that a path names; `None` if there is no such page
/// or no such check.
fn chosen(path: &str) -> Option<(&'static str, Vec<Check>)> {
    let pages: [(_, &[Check]); 2] = [("livez", &Check::LIVEZ), ("readyz", &Check::READYZ)];
    let path = path.strip_prefix('/')?;
    let (kind, name) = path.split_once('/').map_or((path, None), |(kind, name)| (kind, Some(name)));
    let (kind, all) = pages.into_iter().find(|(page, _)| *page == kind)?;
    match name {
        None => Some((kind, all.to_vec())),
        Some(name) => {
            let check = all.iter().copied().find(|check| check.name() == name)?;
            Some((kind, vec![check]))
        }
    }
}

impl Pages {
    /// Whether there is a page of checks at `path`.
    pub(super) fn has_checks(path: &str) -> bool {
        chosen(path).is_some()
    }

    /// `/health`: this member is healthy if it can read and no alarm of any member is raised. The
    /// query can name alarms that do not count.
    pub(super) async fn health(&self, uri: &Uri) -> Page {
        let serializable = query(uri, "serializable").next().is_some_and(|value| value == "true");
        let excluded: Vec<String> = query(uri, "exclude").collect();
        let failure = match self.alarm(&excluded) {
            Some(reason) => Some(reason),
            None => self.cannot_read(serializable).await,
        };
        let metrics = self.server.metrics();
        match failure {
            None => {
                metrics.health_success.inc();
                let body = r#"{"health":"true","reason":""}"#;
                page(StatusCode::OK, PLAIN, body)
            }
            Some(reason) => {
                metrics.health_failures.inc();
                tracing::warn!(reason, "the health check /health failed");
                let body = serde_json::json!({ "health": "false", "reason": reason });
                page(StatusCode::SERVICE_UNAVAILABLE, PLAIN, format!("{body}\n"))
            }
        }
    }

    fn alarm(&self, excluded: &[String]) -> Option<String> {
        let alarms = self.server.member().store().tables(|tables| tables.alarms.clone());
        let names = alarms.iter().map(|(alarm, _)| match AlarmType::try_from(*alarm) {
            Ok(alarm) => alarm.as_str_name(),
            Err(_) => "UNKNOWN",
        });
        names
            .filter(|name| !excluded.iter().any(|e| e == name))
            .map(|name| format!("ALARM {name}"))
            .next()
    }

    async fn cannot_read(&self, serializable: bool) -> Option<String> {
        let has_leader = self.server.member().status_now().leader.is_some();
        if !serializable && !has_leader {
            return Some("RAFT NO LEADER".to_owned());
        }
        let error = self.read(serializable).await.err()?;
        Some(format!("RANGE ERROR:{error}"))
    }

    /// Reads the store as a client's request would, but with an empty key.
    async fn read(&self, serializable: bool) -> Result<(), String> {
        let member = self.server.member();
        let reading = member.begin_range(serializable).await;
        let reading = reading.map_err(|error| ApiError::from(error).text().to_owned())?;
        let range = internal_range(serializable);
        let rows = reading.end(member.view().range(&range, false, &mut Vec::new()));
        rows.map(|_| ()).map_err(|error| error.to_string())
    }

    async fn run(&self, check: Check) -> Result<(), String> {
        match check {
            Check::SerializableRead => self.read(true).await,
            Check::LinearizableRead => self.read(false).await,
            Check::NonLearner => {
                if self.server.member().is_learner() {
                    Err("not supported for learner".to_owned())
                } else {
                    Ok(())
                }
            }
            Check::DataCorruption => {
                let tables = self.server.member().store();
                if tables.tables(|tables| tables.is_raised(AlarmType::Corrupt)) {
                    Err("alarm activated: CORRUPT".to_owned())
                } else {
                    Ok(())
                }
            }
        }
    }

    /// `/livez` and `/readyz`: runs the check that the path names. If the path names no check, runs
    /// all checks of the page except those that the query excludes.
    pub(super) async fn checks(&self, uri: &Uri) -> Page {
        let Some((kind, chosen)) = chosen(uri.path()) else { return not_found() };
        let excluded: Vec<String> = query(uri, "exclude").collect();
        let is_page = uri.path().ends_with(kind);
        let is_excluded =
            |check: &Check| is_page && excluded.iter().any(|excluded| excluded == check.name());
        let mut text = String::new();
        let mut failed = false;
        for check in chosen.into_iter().filter(|check| !is_excluded(check)) {
            let outcome = self.run(check).await;
            failed |= outcome.is_err();
            self.count(kind, check, outcome.is_ok());
            text += &match outcome {
                Ok(()) => format!("[+]{} ok\n", check.name()),
                Err(reason) => format!("[-]{} failed: {reason}\n", check.name()),
            };
        }
        if failed {
            tracing::error!(kind, reason = text, "a health check failed");
            return page(StatusCode::SERVICE_UNAVAILABLE, PLAIN, format!("{text}\n"));
        }
        let verbose = query(uri, "verbose").next().is_some();
        page(StatusCode::OK, PLAIN, if verbose { text + "ok\n" } else { "ok\n".to_owned() })
    }

    fn count(&self, kind: &str, check: Check, passed: bool) {
        let metrics = self.server.metrics();
        let status = if passed { "success" } else { "error" };
        metrics
            .healthcheck
            .with_label_values(&[kind, check.name()])
            .set(f64::from(u8::from(passed)));
        metrics.healthchecks.with_label_values(&[kind, check.name(), status]).inc();
    }
}
