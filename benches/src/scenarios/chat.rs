//! Messages of a few to many, through one server.

use super::single::add;
use crate::contestants::fanout::nats::Nats;
use crate::contestants::fanout::redis::Redis;
use crate::contestants::fanout::shoal::Shoal;
use crate::contestants::fanout::{Crowd, FanOut};
use crate::contestants::shoal;
use crate::failure::Outcome;
use crate::place::Where;
use crate::race::Race;
use crate::report::Section;
use crate::results::Label;
use crate::setting::Setting;

/// What to measure.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// On what the nodes keep the log.
    #[arg(long = "where", value_enum, default_value_t = Where::Tmpfs)]
    pub place: Where,
    /// How many send.
    #[arg(long, value_name = "COUNT", default_value_t = 5)]
    pub senders: u8,
    /// How many get every message.
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    pub members: u8,
    /// How many nodes hold the log: 1 to 7. More than one is needed for an
    /// acknowledgement to mean something.
    #[arg(long, value_name = "COUNT", default_value_t = 3,
          value_parser = clap::value_parser!(u8).range(1..=7))]
    pub replicas: u8,
}

const TEXT: &str = "Each sender says messages of 100 bytes as fast as it may; every member gets \
    all of them. Seconds from the first message that is sent to the last that any member has; \
    what is counted by the second is messages times members. The clients are our own, one small \
    one for each protocol, with a connection and a thread for each member; they share the two \
    cores with the servers. NATS and Redis hand a message on and forget it. Shoal's tracker hands \
    it on when a majority of the nodes that hold the log have written it down, tells its sender \
    so, and puts all messages in one order; those nodes run here, too, get all messages besides, \
    and write transcripts, and its senders get all as well. So the three do not do the same: the \
    others show what handing on alone costs here.";

/// Measures.
///
/// # Errors
/// The machine's; a contestant that fails becomes a remark.
pub fn run(setting: &Setting, args: &Args) -> Outcome<Section> {
    let place = setting.place(args.place)?;
    let messages = if setting.quick { 200 } else { 2000 };
    let (senders, members) = (usize::from(args.senders), usize::from(args.members));
    let crowd = Crowd { senders, messages, members };
    let title = format!("{senders} senders of {messages} messages each to {members} members");
    let deliveries = (crowd.each() * members) as f64;
    let mut race = Race::new(title, 0).counting("messages/s", deliveries);
    let name = format!("{}, {} nodes hold the log", shoal::SHOAL, args.replicas);
    let label = Label { name, ..shoal::label() };
    add(&mut race, setting, label, || {
        Ok(FanOut::new(Shoal::start(setting, &place, args.replicas)?, crowd))
    });
    add(&mut race, setting, Label::other("NATS", "-"), || {
        Ok(FanOut::new(Nats::start(&place)?, crowd))
    });
    add(&mut race, setting, Label::other("Redis", "-"), || {
        Ok(FanOut::new(Redis::start(&place)?, crowd))
    });
    let results = race.run(setting.rounds, setting.memory())?;
    Ok(Section {
        id: "chat".to_owned(),
        title: "A chat".to_owned(),
        text: TEXT.to_owned(),
        tables: vec![results.table("NATS")],
        panels: vec![results.panel("NATS")],
    })
}
