//! Who is tracker, for people. Pure.

use crate::app::{Contact, Role, TrackerInfo};
use crate::terminal::text::{self, Look, Side, Table};

/// The lines about the tracker.
pub fn lines(tracker: Option<&TrackerInfo>, look: Look) -> Vec<String> {
    let Some(tracker) = tracker else {
        return vec!["this node has met no tracker yet".to_owned()];
    };
    let mut lines = vec![who(tracker)];
    let age = text::took(tracker.seconds as f64);
    let contact = match tracker.contact {
        Contact::Own => "that is this node",
        Contact::Heard => "this node hears it",
        Contact::Lost => "it is lost, another one is looked for",
    };
    lines.push(format!("epoch {}, known for {age}; {contact}", tracker.epoch));
    if tracker.line.is_empty() {
        lines.push("nobody would succeed it".to_owned());
        return lines;
    }
    let mut table = Table::new(&[
        ("LINE", Side::Right),
        ("NAME", Side::Left),
        ("ADDRESS", Side::Left),
        ("ID", Side::Left),
    ]);
    for (position, heir) in tracker.line.iter().enumerate() {
        table.row([
            (position + 1).to_string(),
            heir.name.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
            heir.address.to_string(),
            heir.id.short(),
        ]);
    }
    lines.extend(table.lines(look));
    lines
}

fn who(tracker: &TrackerInfo) -> String {
    let address = tracker.address;
    let name = tracker.name.as_ref().map_or_else(|| tracker.id.short(), ToString::to_string);
    match (tracker.role, &tracker.name) {
        (Role::Home, _) => format!("the home tracker at {address}"),
        (Role::Successor, _) => format!("`{name}` at {address}, elected as successor"),
        (Role::Caretaker, None) => format!("{address}, {CARETAKER}"),
        (Role::Caretaker, Some(_)) => format!("`{name}` at {address}, {CARETAKER}"),
    }
}

/// Why it is not elected.
const CARETAKER: &str =
    "as caretaker: most of the council is not there, or was restarted and has no vote";

#[cfg(test)]
mod tests {
    use shoal_common::ident::NodeId;

    use super::*;
    use crate::app::Heir;

    fn info() -> TrackerInfo {
        let address = "127.0.0.1:4000".parse().unwrap();
        let heir = Heir {
            id: NodeId::from_bytes([1; 32]),
            name: Some("node2".parse().unwrap()),
            address,
            joined: 2,
        };
        TrackerInfo {
            id: NodeId::from_bytes([0xab; 32]),
            name: Some("node1".parse().unwrap()),
            address,
            epoch: 2,
            role: Role::Successor,
            contact: Contact::Heard,
            since: 1_800_000_000,
            seconds: 100,
            line: vec![heir.clone(), Heir { name: None, joined: 3, ..heir }],
            joined: 2,
        }
    }

    #[test]
    fn for_people() {
        assert_eq!(
            lines(Some(&info()), Look::default()),
            [
                "`node1` at 127.0.0.1:4000, elected as successor",
                "epoch 2, known for 1:40; this node hears it",
                "LINE  NAME   ADDRESS         ID",
                "   1  node2  127.0.0.1:4000  01010101",
                "   2  -      127.0.0.1:4000  01010101",
            ]
        );
        let home = TrackerInfo {
            name: None,
            role: Role::Home,
            contact: Contact::Lost,
            line: vec![],
            ..info()
        };
        assert_eq!(lines(Some(&home), Look::default())[0], "the home tracker at 127.0.0.1:4000");
        let caretaker = TrackerInfo { role: Role::Caretaker, ..info() };
        assert!(lines(Some(&caretaker), Look::default())[0].contains("as caretaker"));
        assert_eq!(lines(None, Look::default()), ["this node has met no tracker yet"]);
    }

    #[test]
    fn for_programs() {
        let json = serde_json::to_value(info()).unwrap();
        assert_eq!(json["address"], "127.0.0.1:4000");
        assert_eq!((json["epoch"].as_u64(), json["role"].as_str()), (Some(2), Some("successor")));
        assert_eq!(json["since"], 1_800_000_000);
        assert_eq!(json["line"][0]["name"], "node2");
        assert_eq!(json["line"][1]["name"], serde_json::Value::Null);
    }
}
