//! Runs the commands of a script.

use std::collections::BTreeMap;
use std::error::Error;

use anyhow::{Context as _, Result, bail};
use goldenscript::{Argument, Command, Context};
use quorate_proto::etcdserverpb as pb;

use crate::args::{Args, numbered};
use crate::print::{Names, Printer, header};
use crate::target::{Answer, Failure, Target};
use crate::watch::Stream;
use crate::{AuthCall, auth, request, txn};

/// A script's variable for the lease id that the server chose.
const CHOSEN_LEASE: &str = "$lease";

/// Runs one script against one target, whose store must be empty.
pub struct Runner<T> {
    target: T,
    names: Names,
    /// The highest revision in any answer's header.
    revision: i64,
    /// The last token of each user.
    tokens: BTreeMap<String, String>,
    /// Per watch stream, the messages received but not printed yet.
    held: BTreeMap<String, Vec<pb::WatchResponse>>,
}

impl<T: Target> Runner<T> {
    /// A runner for a target with an empty store.
    pub fn new(mut target: T) -> Self {
        let names = Names { member_id: target.member_id(), lease: None };
        Self { target, names, revision: 1, tokens: BTreeMap::new(), held: BTreeMap::new() }
    }

    /// Formats an answer's header, and updates the highest revision.
    fn header(&mut self, of: Option<&pb::ResponseHeader>) -> String {
        self.revision = self.revision.max(of.map_or(0, |header| header.revision));
        header(of)
    }

    /// The command with `$lease` replaced by the lease id that the server chose.
    fn resolve(&self, command: &Command) -> Command {
        let Some(lease) = self.names.lease else { return command.clone() };
        let mut command = command.clone();
        let replace = |text: &mut String| *text = text.replace(CHOSEN_LEASE, &lease.to_string());
        replace(&mut command.name);
        for arg in &mut command.args {
            match arg {
                Argument::Positional(value) | Argument::KeyValue(_, value) => replace(value),
                _ => {}
            }
        }
        command
    }

    /// Runs a command. The outer result fails for errors in the script; the inner one is the
    /// target's answer.
    fn execute(
        &mut self,
        command: &Command,
        stream: &str,
        out: &mut Printer,
    ) -> Result<Answer<()>> {
        if let Some(text) = command.name.strip_prefix("txn") {
            return self.txn(text, out);
        }
        let mut args = Args::of(command);
        let answer = match command.name.as_str() {
            "put" => self.put(&mut args, out)?,
            "range" => self.range(&mut args, out)?,
            "stream" => self.range_stream(&mut args, out)?,
            "del" => self.delete(&mut args, out)?,
            "compact" => {
                let answer = self.target.compact(request::compact(&mut args)?);
                answer.map(|response| {
                    let header = self.header(response.header.as_ref());
                    out.plain("compact", &header);
                })
            }
            "hashkv" => {
                let answer = self.target.hash_kv(request::hash_kv(&mut args)?);
                answer.map(|response| out.hash_kv(&response))
            }
            "alarm" => {
                let request = request::alarm(&mut args, self.names.member_id)?;
                self.target.alarm(request).map(|response| out.alarm(&response))
            }
            "watch" | "cancel" | "send-cancel" | "send-nothing" | "progress" | "ask-progress"
            | "events" | "await" => self.watch(command.name.as_str(), stream, &mut args, out)?,
            // Later calls come from this user, or from no user.
            "as" => {
                let token = args.next_word().map(|user| self.token(&user)).transpose()?;
                self.target.use_token(token)
            }
            "with-token" => self.target.use_token(Some(args.word("token")?)),
            name => match auth::call(name, &mut args)? {
                None => self.lease(name, &mut args, out)?,
                Some(call) => self.auth(name, call, out),
            },
        };
        args.finish()?;
        Ok(answer)
    }

    fn txn(&mut self, text: &str, out: &mut Printer) -> Result<Answer<()>> {
        let answer = self.target.txn(txn::parse(text)?);
        Ok(answer.map(|response| {
            let header = self.header(response.header.as_ref());
            out.txn(0, &header, &response);
        }))
    }

    fn put(&mut self, args: &mut Args, out: &mut Printer) -> Result<Answer<()>> {
        let times = args.times()?;
        let put = request::put(args)?;
        for n in 0..times.unwrap_or(1) {
            let mut put = put.clone();
            if times.is_some() {
                put.key = numbered(&put.key, n);
            }
            match self.target.put(put) {
                Ok(response) => {
                    let header = self.header(response.header.as_ref());
                    out.put(0, &header, &response);
                }
                Err(failure) => return Ok(Err(failure)),
            }
        }
        Ok(Ok(()))
    }

    fn range(&mut self, args: &mut Args, out: &mut Printer) -> Result<Answer<()>> {
        let answer = self.target.range(request::range(args)?);
        Ok(answer.map(|response| {
            let header = self.header(response.header.as_ref());
            out.range(0, &header, &response);
        }))
    }

    fn range_stream(&mut self, args: &mut Args, out: &mut Printer) -> Result<Answer<()>> {
        let (parts, failure) = self.target.range_stream(request::range(args)?);
        for part in parts {
            let part = part.range_response.unwrap_or_default();
            out.range(0, &header(part.header.as_ref()), &part);
        }
        Ok(failure.map_or(Ok(()), Err))
    }

    fn delete(&mut self, args: &mut Args, out: &mut Printer) -> Result<Answer<()>> {
        let answer = self.target.delete_range(request::delete(args)?);
        Ok(answer.map(|response| {
            let header = self.header(response.header.as_ref());
            out.delete(0, &header, &response);
        }))
    }

    fn token(&self, user: &str) -> Result<String> {
        let token = self.tokens.get(user);
        Ok(token.with_context(|| format!("{user} has no token"))?.clone())
    }

    fn auth(&mut self, name: &str, call: AuthCall, out: &mut Printer) -> Answer<()> {
        let user = if let AuthCall::Authenticate(login) = &call {
            login.name.clone()
        } else {
            String::new()
        };
        let answer = self.target.auth(call)?;
        auth::print(name, &answer, out);
        if let Some(token) = answer.token {
            self.tokens.insert(user, token);
        }
        Ok(())
    }

    fn lease(&mut self, name: &str, args: &mut Args, out: &mut Printer) -> Result<Answer<()>> {
        Ok(match name {
            "grant" => {
                let request = request::grant(args)?;
                self.target.lease_grant(request).map(|response| {
                    if request.id == 0 {
                        self.names.lease = Some(response.id);
                        *out = Printer::new(self.names);
                    }
                    out.lease_grant(&response);
                })
            }
            "revoke" => {
                let answer = self.target.lease_revoke(request::revoke(args)?);
                answer.map(|response| {
                    let header = self.header(response.header.as_ref());
                    out.plain("revoke", &header);
                })
            }
            "ttl" => {
                let answer = self.target.lease_time_to_live(request::time_to_live(args)?);
                answer.map(|response| out.time_to_live(&response))
            }
            "leases" => self.target.lease_leases().map(|response| out.leases(&response)),
            "keepalive" => {
                let answer = self.target.lease_keep_alive(request::keep_alive(args)?);
                answer.map(|response| out.keep_alive(&response))
            }
            other => bail!("there is no command '{other}'"),
        })
    }

    fn watch(
        &mut self,
        command: &str,
        name: &str,
        args: &mut Args,
        out: &mut Printer,
    ) -> Result<Answer<()>> {
        let held = self.held.entry(name.to_owned()).or_default();
        let mut stream = Stream { target: &mut self.target, name, held };
        Ok(match command {
            "watch" => stream.create(request::watch(args)?, out),
            "cancel" => stream.cancel(args.word_number("id")?, out),
            "send-cancel" => stream.send_cancel(args.word_number("id")?),
            "send-nothing" => stream.send_nothing(),
            "ask-progress" => stream.ask_progress(),
            "await" => stream.wait_for(usize::try_from(args.word_number("count")?)?, out),
            command => stream.events(self.revision, command == "progress", out),
        })
    }
}

impl<T: Target> goldenscript::Runner for Runner<T> {
    type Command = Command;

    fn run(&mut self, command: &Command, context: &Context) -> Result<String, Box<dyn Error>> {
        self.target.reorganize();
        let command = self.resolve(command);
        let mut out = Printer::new(self.names);
        let stream = context.prefix.as_deref().unwrap_or_default();
        match self.execute(&command, stream, &mut out)? {
            Ok(()) => {}
            Err(Failure::Refused(status)) => out.status(&status),
            Err(Failure::Broken(why)) => return Err(why.into()),
        }
        Ok(out.finish())
    }
}
