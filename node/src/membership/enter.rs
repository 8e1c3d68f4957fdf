//! How a node comes into its network.

use shoal_common::limits::HEARTBEAT;
use shoal_common::task::Tasks;
use shoal_tracker::office::{Office, Setting};
use tokio::sync::{mpsc, oneshot};
use tracing::{Instrument, info_span};

use super::around::Around;
use super::handle::{Link, Membership};
use super::session::Session;
use super::wish::{FirstAnswer, Goodbye, Wish};
use crate::notice::Notices;

/// Keeps this node registered with whoever is tracker, until the tasks are
/// cancelled or it has said goodbye. The office answers those who ask this node
/// who that is, and makes it tracker when it has to.
pub fn start(
    wish: Wish,
    notices: Notices,
    tasks: &Tasks,
) -> (Membership, FirstAnswer, Goodbye, Office) {
    let membership = Membership::new(wish.us.node, wish.name.0.clone(), wish.us.clock.clone());
    if wish.tracker.is_some() {
        membership.set_link(Link::Searching);
    }
    let (first, answer) = oneshot::channel();
    let (goodbye, goodbyes) = mpsc::channel(1);
    let setting = Setting {
        us: wish.us.clone(),
        heartbeat: HEARTBEAT,
        home: wish.tracker.clone(),
        peers: wish.peers.clone(),
        eligible: wish.eligible,
    };
    let around = Around { membership: membership.clone(), notices: notices.clone() };
    let office = Office::node(setting, Box::new(around));
    let session = Session::new(wish, office.clone(), membership.clone(), notices, first);
    tasks.spawn(info_span!("office"), office.clone().run(tasks.clone()));
    tasks.spawn(info_span!("tracker"), session.run(goodbyes).in_current_span());
    (membership, answer, Goodbye(goodbye), office)
}
