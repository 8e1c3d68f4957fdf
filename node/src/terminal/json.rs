//! Answers for programs: one JSON value each. Pure.

use serde_json::{Value, json};
use shoal_common::clock::Stamp;

use crate::catalog::found::Findings;
use crate::terminal::answer::Answer;
use crate::terminal::chat;
use crate::terminal::words::{VERBS, Verb};

/// The JSON value of an answer.
pub fn value(answer: &Answer) -> Value {
    match answer {
        Answer::Help(Some(verb)) => help(verb),
        Answer::Help(None) => VERBS.iter().map(help).collect(),
        Answer::Identity(identity) => json!(identity),
        Answer::Clock(Stamp { time, node }) => json!({ "time": time, "node": node }),
        Answer::Tracker(tracker) => json!(tracker),
        Answer::Files(files) => json!(files),
        Answer::Peers(peers) => json!(peers),
        Answer::Chat(told) => chat::value(told),
        Answer::Greeted(peer) => json!(peer),
        Answer::Found(findings) => found(findings),
        Answer::Jobs(jobs, _) => json!(jobs),
        Answer::Started(job)
        | Answer::Over(job)
        | Answer::Job(job)
        | Answer::Changed(job)
        | Answer::Cancelled(job) => json!(job),
        Answer::Limits(limits) => json!(limits),
        Answer::Stats(rows) => json!(rows),
        Answer::Leaving => json!({ "left": false }),
        Answer::Left => json!({ "left": true }),
    }
}

/// The same value with the Lamport time at which the node answered, in each object
/// of the outermost kind that has no time of its own.
pub fn stamped(mut value: Value, time: u64) -> Value {
    match &mut value {
        Value::Object(fields) => {
            fields.entry("lamport").or_insert(time.into());
        }
        Value::Array(rows) => {
            for fields in rows.iter_mut().filter_map(Value::as_object_mut) {
                fields.entry("lamport").or_insert(time.into());
            }
        }
        _ => {}
    }
    value
}

/// The JSON value of what went wrong.
pub fn error(message: &str) -> Value {
    json!({ "error": message })
}

fn help(verb: &Verb) -> Value {
    json!({ "command": verb.name, "usage": verb.usage, "summary": verb.summary })
}

fn found(findings: &Findings) -> Value {
    findings
        .found
        .iter()
        .map(|found| {
            let owners: Vec<_> = found.owners.iter().map(|owner| &owner.name).collect();
            json!({ "name": found.name, "size": found.size, "id": found.id, "owners": owners })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amount::Limit;
    use crate::app::{Identity, PeerInfo};
    use crate::catalog::found::{FileInfo, Found};
    use crate::config::Limits;
    use crate::membership::Link;
    use crate::transfer::job::{JobInfo, JobState, OwnerInfo, Wanted};
    use crate::transfer::stats::StatRow;
    use shoal_common::content::FileId;
    use shoal_common::ident::{NodeId, Peer};
    use shoal_common::protocol::peers::State;

    fn peer() -> Peer {
        Peer {
            id: NodeId::from_bytes([0xab; 32]),
            name: "node1".parse().unwrap(),
            search: "172.20.0.3:40001".parse().unwrap(),
            download: "172.20.0.3:40002".parse().unwrap(),
            joined: 0,
        }
    }

    fn id() -> String {
        "cd".repeat(32)
    }

    #[test]
    fn shapes() {
        let file = FileId::from_bytes([0xcd; 32]);
        let Peer { id: node, name, search, download, .. } = peer();
        let state = State::Offline;
        let (contact, clock) = (Some(1.5), Some(7));
        let info = PeerInfo { id: node, name, search, download, state, contact, clock };
        let expected = json!({
            "id": "ab".repeat(32), "name": "node1",
            "search": "172.20.0.3:40001", "download": "172.20.0.3:40002",
            "state": "offline", "contact": 1.5, "clock": 7,
        });
        assert_eq!(value(&Answer::Peers(vec![info.clone()])), json!([expected]));
        assert_eq!(value(&Answer::Greeted(info)), expected);
        let info = FileInfo { name: "a b".parse().unwrap(), size: 7, id: file };
        assert_eq!(
            value(&Answer::Files(vec![info.clone()])),
            json!([{ "name": "a b", "size": 7, "id": id() }])
        );
        let found = Found { name: info.name, size: 7, id: file, owners: vec![peer()] };
        let silent = vec!["node9".parse().unwrap()];
        assert_eq!(
            value(&Answer::Found(Findings { found: vec![found], silent, missing: 1, more: true })),
            json!([{ "name": "a b", "size": 7, "id": id(), "owners": ["node1"] }])
        );
        assert_eq!(value(&Answer::Left), json!({ "left": true }));
        let limits = Limits { up: Limit(Some(50_000_000)), ..Limits::default() };
        assert_eq!(
            value(&Answer::Limits(limits)),
            json!({
                "up": 50_000_000, "down": null, "max_uploads": 64, "max_downloads": 64,
                "chunk_size": 1_048_576,
            })
        );
        let row = StatRow {
            name: "a".into(),
            id: Some(file),
            size: 10,
            request_size: 65_536,
            owners: 2,
            runs: 1,
            seconds: 0.5,
            rate: 20.0,
            deviation: None,
        };
        assert_eq!(
            value(&Answer::Stats(vec![row])),
            json!([{
                "name": "a", "id": id(), "size": 10, "request_size": 65_536, "owners": 2,
                "runs": 1, "seconds": 0.5, "rate": 20.0, "deviation": null,
            }])
        );
        assert_eq!(error("why"), json!({ "error": "why" }));
        let Value::Array(help) = value(&Answer::Help(None)) else { panic!("no list") };
        assert_eq!(help.len(), VERBS.len());
    }

    #[test]
    fn each_object_carries_the_time() {
        assert_eq!(stamped(json!({ "left": true }), 7), json!({ "left": true, "lamport": 7 }));
        let rows = json!([{ "name": "a" }, { "name": "b" }]);
        assert_eq!(
            stamped(rows, 7),
            json!([{ "name": "a", "lamport": 7 }, { "name": "b", "lamport": 7 }])
        );
        assert_eq!(stamped(json!([{ "lamport": 3 }]), 7), json!([{ "lamport": 3 }]));
        let stamp = Stamp { time: 5, node: peer().id };
        assert_eq!(
            stamped(value(&Answer::Clock(stamp)), 9),
            json!({ "time": 5, "node": "ab".repeat(32), "lamport": 9 })
        );
    }

    #[test]
    fn a_job() {
        let wanted = Wanted::file("a".parse().unwrap(), FileId::from_bytes([0xcd; 32]), 10);
        let job = JobInfo {
            state: JobState::Done,
            limit: Some(5_000_000),
            done: 10,
            resumed: 4,
            seconds: 0.5,
            rate: 12.0,
            owners: vec![OwnerInfo {
                name: "node1".parse().unwrap(),
                bytes: 6,
                active: false,
                trouble: None,
            }],
            saved_as: Some("a (1)".parse().unwrap()),
            ..JobInfo::new(1, &wanted)
        };
        let expected = json!({
            "job": 1, "name": "a", "size": 10, "id": id(), "state": "done",
            "priority": "normal", "limit": 5_000_000, "done": 10,
            "resumed": 4, "seconds": 0.5, "rate": 12.0, "left": null,
            "owners": [{ "name": "node1", "bytes": 6, "active": false, "trouble": null }],
            "reason": null, "saved_as": "a (1)", "files": null, "failures": [],
        });
        assert_eq!(value(&Answer::Over(job.clone())), expected);
        assert_eq!(value(&Answer::Jobs(vec![job], vec![])), json!([expected]));
        let tree = value(&Answer::Over(crate::terminal::jobs::tests::tree(60)));
        assert_eq!(tree["id"], Value::Null);
        assert_eq!(tree["files"], json!({ "total": 1000, "done": 940, "failed": 60 }));
        assert_eq!(tree["failures"].as_array().unwrap().len(), 60, "all that are known");
        let first = json!({ "name": "photos/0.jpg", "reason": "changed \u{1b} at its owner" });
        assert_eq!(tree["failures"][0], first);
    }

    #[test]
    fn an_identity() {
        let Peer { id, name, search, download, .. } = peer();
        let identity = Identity {
            id,
            name,
            network: "shoal".into(),
            search,
            download,
            tracker: Some("172.20.0.2:12345".into()),
            link: Link::Registered,
        };
        let alone = Identity { tracker: None, link: Link::None, ..identity.clone() };
        let alone = value(&Answer::Identity(alone));
        assert_eq!((&alone["tracker"], &alone["link"]), (&Value::Null, &json!("none")));
        assert_eq!(
            value(&Answer::Identity(identity)),
            json!({
                "id": "ab".repeat(32), "name": "node1", "network": "shoal",
                "search": "172.20.0.3:40001", "download": "172.20.0.3:40002",
                "tracker": "172.20.0.2:12345", "link": "registered",
            })
        );
    }
}
