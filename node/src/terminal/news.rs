//! What happens at a node, as lines for a terminal.

use crate::control::client::{ControlError, Event, Watch};
use crate::terminal::Ending;
use crate::terminal::text::escape;
use crate::transfer::job::JobInfo;

/// Something for a terminal to show.
#[derive(Debug, Clone, PartialEq)]
pub enum News {
    /// A line from the node.
    Notice(String),
    /// A download is over.
    Over(Box<JobInfo>),
    /// How far the downloads are.
    Progress(Vec<JobInfo>),
}

/// Hears the news of a node until it is gone, and shows each. Says how it went.
pub async fn follow<F>(mut watch: Watch, mut show: impl FnMut(News) -> F) -> Ending
where
    F: Future<Output = ()>,
{
    loop {
        let event = match watch.next().await {
            Ok(event) => event,
            Err(ControlError::Gone) => return Ending::InOrder,
            Err(_) => return Ending::NodeGone,
        };
        match event {
            Event::Notice(line) => show(News::Notice(escape(&line))).await,
            Event::Progress(jobs) => {
                for job in jobs.iter().filter(|job| job.state.is_over()) {
                    show(News::Over(Box::new(job.clone()))).await;
                }
                show(News::Progress(jobs)).await;
            }
        }
    }
}
