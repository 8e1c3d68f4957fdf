//! The answering side.

use std::sync::Arc;
use std::time::Duration;

use shoal_common::connection::{Connection, ConnectionError};
use shoal_common::limits::{HELLO_DEADLINE, IDLE_DEADLINE, MAX_REQUEST_FRAME};
use shoal_common::task::Tasks;
use tokio::net::UnixStream;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, info_span, warn};

use crate::app::App;
use crate::control::client::Door;
use crate::control::protocol::{MAX_CONTROL_REPLY, Reply, Request};
use crate::control::socket::ControlSocket;
use crate::transfer::job::{JobId, JobInfo};

/// Most conversations at once. Above the thousands of idle ones that the
/// socket must withstand; further ones wait in the kernel's queue.
const MAX_CONVERSATIONS: usize = 4096;

/// Pause after an error of `accept`, which would repeat at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// How often watchers hear of progress: smooth to the eye, and a negligible
/// part of the work of a download.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);

/// Answers terminals for a node.
#[derive(Debug, Clone)]
pub struct Service {
    app: App,
    gone: CancellationToken,
    tasks: Tasks,
}

impl Service {
    /// Conversations run in `tasks`, which outlive the node: when `gone` says
    /// that it has ended, those who watch hear the last news.
    pub fn new(app: App, gone: CancellationToken, tasks: Tasks) -> Self {
        Self { app, gone, tasks }
    }

    /// Serves the control socket from now on.
    pub fn serve(&self, socket: ControlSocket) {
        let service = self.clone();
        self.tasks.spawn(info_span!("control socket"), service.accept(socket));
    }

    /// A door for the terminal of this very process.
    pub fn door(&self) -> Door {
        let (to_node, mut streams) = mpsc::channel::<UnixStream>(1);
        let service = self.clone();
        self.tasks.spawn(info_span!("own terminal"), async move {
            while let Some(stream) = streams.recv().await {
                service.tasks.spawn(info_span!("control"), service.clone().converse(stream));
            }
        });
        Door::here(to_node)
    }

    async fn accept(self, socket: ControlSocket) {
        let slots = Arc::new(Semaphore::new(MAX_CONVERSATIONS));
        loop {
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
                return;
            };
            match socket.accept().await {
                Ok(stream) => {
                    let conversation = self.clone().converse(stream);
                    self.tasks.spawn(info_span!("control"), async move {
                        let _slot = slot;
                        conversation.await;
                    });
                }
                Err(error) => {
                    warn!("cannot accept a control connection: {error}");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn converse(self, stream: UnixStream) {
        let Self { app, gone, .. } = self;
        let mut connection = Connection::new(stream);
        connection.keep_time(app.clock().clone());
        let mut conversation = Conversation { connection, app, gone };
        match conversation.run().await {
            Err(error) if !error.is_usual() => info!("control connection closed: {error}"),
            _ => debug!("control connection ends"),
        }
    }
}

/// One terminal's connection.
struct Conversation {
    connection: Connection<UnixStream>,
    app: App,
    gone: CancellationToken,
}

impl Conversation {
    async fn run(&mut self) -> Result<(), ConnectionError> {
        // One that connects and says nothing must not hold a slot for long.
        let mut patience = HELLO_DEADLINE;
        loop {
            let request = self.connection.receive(MAX_REQUEST_FRAME, patience).await;
            let request = match request {
                Err(ConnectionError::Malformed(reason)) => {
                    self.refuse(format!("a request that makes no sense: {reason}")).await?;
                    return Err(ConnectionError::Malformed(reason));
                }
                other => other?,
            };
            let reply = match request {
                Request::Watch => return self.watch().await,
                Request::Wait { job } => match self.finished(job).await? {
                    Some(job) => Reply::Job(job),
                    None => refused(format!("there is no download `{job}`")),
                },
                request => answer(&self.app, request).await,
            };
            self.reply(&reply).await?;
            patience = IDLE_DEADLINE;
        }
    }

    async fn reply(&mut self, reply: &Reply) -> Result<(), ConnectionError> {
        match self.connection.send(reply, MAX_CONTROL_REPLY).await {
            Err(ConnectionError::TooLong { .. }) => {
                self.refuse("too much for one answer; ask for a part of it".to_owned()).await
            }
            sent => sent,
        }
    }

    async fn refuse(&mut self, reason: String) -> Result<(), ConnectionError> {
        self.connection.send(&refused(reason), MAX_CONTROL_REPLY).await
    }

    /// The end of a download, unless the terminal hangs up before.
    async fn finished(&mut self, job: JobId) -> Result<Option<JobInfo>, ConnectionError> {
        tokio::select! {
            job = self.app.finished(job) => Ok(job),
            error = hung_up(&mut self.connection) => Err(error),
        }
    }

    /// Tells what happens until the terminal hangs up or the node has ended.
    async fn watch(&mut self) -> Result<(), ConnectionError> {
        let mut notices = self.app.notices();
        let mut ticks = interval(PROGRESS_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = Told::default();
        // Downloads that were over before are no news.
        told.news(self.app.jobs());
        loop {
            let reply = tokio::select! {
                notice = notices.recv() => match notice {
                    Ok(line) => Reply::Notice { line },
                    Err(RecvError::Lagged(missed)) => {
                        Reply::Notice { line: format!("{missed} notices were skipped") }
                    }
                    Err(RecvError::Closed) => break,
                },
                _ = ticks.tick() => match told.news(self.app.jobs()) {
                    Some(jobs) => Reply::Progress { jobs },
                    None => continue,
                },
                error = hung_up(&mut self.connection) => return Err(error),
                () = self.gone.cancelled() => break,
            };
            self.reply(&reply).await?;
        }
        while let Ok(line) = notices.try_recv() {
            self.reply(&Reply::Notice { line }).await?;
        }
        if let Some(jobs) = told.news(self.app.jobs()) {
            self.reply(&Reply::Progress { jobs }).await?;
        }
        // Without it, the node was killed.
        self.reply(&Reply::Leaving).await
    }
}

/// What a watcher knows of the downloads.
#[derive(Debug, Default)]
struct Told {
    /// What it was told last; the same again is no news.
    last: Vec<JobInfo>,
    /// Those that were under way when it was told last.
    running: Vec<JobId>,
    /// The highest number it was told of.
    highest: JobId,
}

impl Told {
    /// What to tell: downloads under way, and once each that is over.
    fn news(&mut self, jobs: Vec<JobInfo>) -> Option<Vec<JobInfo>> {
        let highest = jobs.iter().map(|job| job.job).max().unwrap_or(0);
        let news: Vec<JobInfo> = jobs
            .into_iter()
            .filter(|job| {
                !job.state.is_over() || self.running.contains(&job.job) || job.job > self.highest
            })
            .collect();
        let nothing = news.is_empty() && self.running.is_empty();
        let silent = nothing || news == self.last;
        self.last.clone_from(&news);
        self.running = news.iter().filter(|job| !job.state.is_over()).map(|job| job.job).collect();
        self.highest = self.highest.max(highest);
        (!silent).then_some(news)
    }
}

/// Why the other side is gone. A request that comes instead is not answered:
/// this conversation is taken.
async fn hung_up(connection: &mut Connection<UnixStream>) -> ConnectionError {
    loop {
        // An hour's silence is the usual thing here.
        match connection.receive::<Request>(MAX_REQUEST_FRAME, Duration::from_secs(3600)).await {
            Ok(_) | Err(ConnectionError::Silent(_)) => {}
            Err(error) => return error,
        }
    }
}

fn refused(reason: impl ToString) -> Reply {
    Reply::Refused { reason: reason.to_string() }
}

/// The reply to a request that is answered at once.
async fn answer(app: &App, request: Request) -> Reply {
    match request {
        Request::GetIp => Reply::Identity(app.identity()),
        Request::Clock => Reply::Clock(app.stamp()),
        Request::Tracker => Reply::Tracker { tracker: app.tracker() },
        Request::Show { part } => Reply::Files { files: shown(app, part.as_deref()) },
        Request::Peers => Reply::Peers { peers: app.peers() },
        Request::Chat { ask } => match app.chat(ask).await {
            Ok(told) => Reply::Chat { told },
            Err(reason) => refused(reason),
        },
        Request::Standings { refresh: false } => Reply::Standings { peers: app.standings() },
        Request::Standings { refresh: true } => Reply::Standings { peers: app.refresh().await },
        Request::Hello { whom } => match app.hello(&whom).await {
            Ok(info) => Reply::Standings { peers: vec![info] },
            Err(error) => refused(error),
        },
        Request::Search { pattern } => match app.search(&pattern).await {
            Ok(findings) => Reply::Found(findings),
            Err(error) => refused(error),
        },
        Request::Find { name } => match app.find(&name).await {
            Ok(findings) => Reply::Found(findings),
            Err(error) => refused(error),
        },
        Request::Download(wanted) => match app.download(wanted) {
            Ok(job) => job_or(app.written(job).await),
            Err(error) => refused(error),
        },
        Request::Jobs => Reply::Jobs { jobs: app.jobs() },
        Request::Uploads => Reply::Uploads { uploads: app.uploads() },
        Request::Job { job } => job_or(app.job(job)),
        Request::Cancel { job } => job_or(app.cancel(job).await),
        Request::Pause { job } => job_or(app.pause(job).await),
        Request::Resume { job } => job_or(app.resume(job).await),
        Request::Prioritize { job, priority } => job_or(app.prioritize(job, priority).await),
        Request::Retry { job } => job_or(app.retry(job).await),
        Request::Limit { job, limit } => job_or(app.limit(job, limit).await),
        Request::Limits => Reply::Limits(app.limits()),
        Request::Set { setting } => match app.set(setting) {
            Ok(limits) => Reply::Limits(limits),
            Err(error) => refused(error),
        },
        Request::Stats => Reply::Stats { rows: app.stats() },
        Request::Names => Reply::Names { names: app.names() },
        Request::Exit => {
            app.request_exit();
            Reply::Leaving
        }
        Request::Watch | Request::Wait { .. } | Request::Unknown => {
            refused("this node does not know the request; is it of an older version?")
        }
    }
}

fn job_or(done: Result<JobInfo, impl ToString>) -> Reply {
    match done {
        Ok(job) => Reply::Job(job),
        Err(error) => refused(error),
    }
}

fn shown(app: &App, part: Option<&str>) -> Vec<crate::catalog::found::FileInfo> {
    let mut files = app.show();
    if let Some(part) = part {
        let part = part.to_lowercase();
        files.retain(|file| file.name.as_str().to_lowercase().contains(&part));
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transfer::job::{JobState, Wanted};
    use shoal_common::content::FileId;

    fn job(job: JobId, state: JobState) -> JobInfo {
        let wanted = Wanted::file("a".parse().unwrap(), FileId::of(b"a"), 1);
        JobInfo { state, ..JobInfo::new(job, &wanted) }
    }

    #[test]
    fn each_end_is_told_once_and_the_past_is_no_news() {
        use JobState::{Done, Failed, Running, Waiting};
        let mut told = Told::default();
        told.news(vec![job(1, Done), job(2, Running)]);
        let mut hear = |jobs: &[(JobId, JobState)]| {
            let jobs = jobs.iter().map(|(number, state)| job(*number, *state)).collect();
            told.news(jobs).map(|jobs| jobs.iter().map(|j| (j.job, j.state)).collect::<Vec<_>>())
        };
        assert_eq!(hear(&[(1, Done), (2, Running)]), Some(vec![(2, Running)]));
        assert_eq!(hear(&[(1, Done), (2, Running)]), None, "the same again");
        assert_eq!(hear(&[(1, Done), (2, Waiting)]), Some(vec![(2, Waiting)]));
        assert_eq!(hear(&[(1, Done), (2, Failed)]), Some(vec![(2, Failed)]));
        assert_eq!(hear(&[(1, Done), (2, Failed)]), None);
        // One that came and ended between two looks.
        assert_eq!(hear(&[(1, Done), (2, Failed), (3, Done)]), Some(vec![(3, Done)]));
        assert_eq!(hear(&[(2, Failed), (3, Done)]), None);
        // One that is forgotten while it runs empties the status.
        assert_eq!(hear(&[(4, Running)]), Some(vec![(4, Running)]));
        assert_eq!(hear(&[]), Some(vec![]));
        assert_eq!(hear(&[]), None);
    }
}
