//! Parses transactions.

use anyhow::{Context as _, Result, bail, ensure};
use quorate_proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use quorate_proto::etcdserverpb::request_op::Request;
use quorate_proto::etcdserverpb::{Compare, RequestOp, TxnRequest};

use crate::args::{Args, bytes, number, numbered};
use crate::lexer::{Token, tokens};
use crate::request;

/// The keywords that begin the parts of a transaction.
const PARTS: [&str; 3] = ["if", "then", "else"];

/// Parses a transaction's text, without the leading `txn`.
pub(crate) fn parse(text: &str) -> Result<TxnRequest> {
    let mut parser = Parser { tokens: tokens(text)?, at: 0 };
    let txn = parser.txn()?;
    match parser.peek() {
        None => Ok(txn),
        Some(token) => bail!("{token:?} is not understood"),
    }
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn next(&mut self, what: &str) -> Result<Token> {
        let token =
            self.peek().cloned().with_context(|| format!("the text ends instead of {what}"))?;
        self.at += 1;
        Ok(token)
    }

    fn skip(&mut self, token: &Token) -> bool {
        let there = self.peek() == Some(token);
        self.at += usize::from(there);
        there
    }

    fn skip_word(&mut self, word: &str) -> bool {
        self.skip(&Token::Word(word.to_owned()))
    }

    fn skip_sign(&mut self, sign: &'static str) -> bool {
        self.skip(&Token::Sign(sign))
    }

    fn text(&mut self, what: &str) -> Result<String> {
        match self.next(what)? {
            Token::Word(text) | Token::Quoted(text) => Ok(text),
            token => bail!("{token:?} instead of {what}"),
        }
    }

    fn txn(&mut self) -> Result<TxnRequest> {
        let mut txn = TxnRequest::default();
        if self.skip_word("if") {
            loop {
                self.compare(&mut txn.compare)?;
                if !self.skip_sign(",") {
                    break;
                }
            }
        }
        if self.skip_word("then") {
            txn.success = self.operations()?;
        }
        if self.skip_word("else") {
            txn.failure = self.operations()?;
        }
        Ok(txn)
    }

    fn operations(&mut self) -> Result<Vec<RequestOp>> {
        let mut ops = Vec::new();
        loop {
            self.operation(&mut ops)?;
            if !self.skip_sign(";") {
                return Ok(ops);
            }
        }
    }

    fn operation(&mut self, ops: &mut Vec<RequestOp>) -> Result<()> {
        let kind = self.text("operation")?;
        if kind == "txn" {
            ensure!(self.skip_sign("("), "a nested transaction needs brackets");
            let request = Some(Request::RequestTxn(self.txn()?));
            ensure!(self.skip_sign(")"), "a bracket is not closed");
            ops.push(RequestOp { request });
            return Ok(());
        }
        let mut args = self.args()?;
        let times = args.times()?;
        let request = match kind.as_str() {
            "nothing" => None,
            "put" => Some(Request::RequestPut(request::put(&mut args)?)),
            "range" => Some(Request::RequestRange(request::range(&mut args)?)),
            "del" => Some(Request::RequestDeleteRange(request::delete(&mut args)?)),
            other => bail!("unknown operation '{other}'"),
        };
        args.finish()?;
        match times {
            None => ops.push(RequestOp { request }),
            Some(times) => ops.extend((0..times).map(|n| copy(request.as_ref(), n))),
        }
        Ok(())
    }

    /// Arguments up to the next sign or keyword.
    fn args(&mut self) -> Result<Args> {
        let mut args = Args::default();
        while let Some(token) = self.peek().cloned() {
            match token {
                Token::Word(word) if PARTS.contains(&word.as_str()) => break,
                Token::Word(word) | Token::Quoted(word) => {
                    self.at += 1;
                    args.push_word(word);
                }
                Token::Name(name) => {
                    self.at += 1;
                    let value = self.text("value")?;
                    args.push_value(name, value);
                }
                Token::Sign(_) => break,
            }
        }
        Ok(args)
    }

    fn compare(&mut self, compares: &mut Vec<Compare>) -> Result<()> {
        let by_name = |n: &str| CompareTarget::from_str_name(n).map(Into::into);
        let target = request::enumeration(&self.text("target")?, by_name)?;
        ensure!(self.skip_sign("("), "the key of a target needs brackets");
        let mut args = self.args()?;
        ensure!(self.skip_sign(")"), "a bracket is not closed");
        let times = args.times()?;
        let (key, range_end) = request::key_and_end(&mut args)?;
        args.finish()?;
        let result = self.result()?;
        let target_union = self.target_union(target)?;
        let compare = Compare { result, target, key, range_end, target_union };
        match times {
            None => compares.push(compare),
            Some(times) => compares.extend((0..times).map(|n| {
                let key = numbered(&compare.key, n);
                Compare { key, ..compare.clone() }
            })),
        }
        Ok(())
    }

    fn result(&mut self) -> Result<i32> {
        match self.next("comparison")? {
            Token::Sign("=") => Ok(CompareResult::Equal as i32),
            Token::Sign("!=") => Ok(CompareResult::NotEqual as i32),
            Token::Sign(">") => Ok(CompareResult::Greater as i32),
            Token::Sign("<") => Ok(CompareResult::Less as i32),
            Token::Sign("?") => Ok(i32::try_from(number(&self.text("number")?)?)?),
            token => bail!("{token:?} is not a comparison"),
        }
    }

    /// The value of a comparison, by default in the union field that belongs to the target.
    fn target_union(&mut self, target: i32) -> Result<Option<TargetUnion>> {
        if self.skip_word("none") {
            return Ok(None);
        }
        let text = self.text("value")?;
        let target = if self.skip_word("as") {
            let name = self.text("target")?.to_ascii_uppercase();
            CompareTarget::from_str_name(&name).context("unknown target")?
        } else {
            CompareTarget::try_from(target).unwrap_or(CompareTarget::Version)
        };
        Ok(Some(match target {
            CompareTarget::Version => TargetUnion::Version(number(&text)?),
            CompareTarget::Create => TargetUnion::CreateRevision(number(&text)?),
            CompareTarget::Mod => TargetUnion::ModRevision(number(&text)?),
            CompareTarget::Value => TargetUnion::Value(bytes(&text)),
            CompareTarget::Lease => TargetUnion::Lease(number(&text)?),
        }))
    }
}

/// The operation with the key of repetition `n`.
fn copy(request: Option<&Request>, n: usize) -> RequestOp {
    let mut request = request.cloned();
    match &mut request {
        Some(Request::RequestPut(put)) => put.key = numbered(&put.key, n),
        Some(Request::RequestRange(range)) => range.key = numbered(&range.key, n),
        Some(Request::RequestDeleteRange(delete)) => delete.key = numbered(&delete.key, n),
        Some(Request::RequestTxn(_)) | None => {}
    }
    RequestOp { request }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_is_parsed() {
        let txn = parse(
            r#"if version(a) = 0, value(b end=c) != "x y" then put a 1 lease=7;
               txn (then range "if") else del a prefix; nothing; range k times=2"#,
        )
        .unwrap();
        assert_eq!(txn.compare.len(), 2);
        assert_eq!(txn.compare[1].target_union, Some(TargetUnion::Value("x y".into())));
        assert_eq!(txn.compare[1].range_end, "c");
        let [put, nested] = txn.success.as_slice() else { panic!("two operations") };
        assert!(matches!(&put.request, Some(Request::RequestPut(p)) if p.lease == 7));
        let Some(Request::RequestTxn(nested)) = &nested.request else { panic!("a transaction") };
        assert!(
            matches!(&nested.success[0].request, Some(Request::RequestRange(r)) if r.key == "if")
        );
        let keys: Vec<_> = txn.failure[2..]
            .iter()
            .map(|op| match &op.request {
                Some(Request::RequestRange(range)) => range.key.clone(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(keys, ["k-000", "k-001"]);
        assert_eq!(txn.failure[1].request, None);
    }

    #[test]
    fn an_invalid_transaction_is_refused() {
        for text in
            ["if mod(a) 3", "then jump a", "then put", "put a", "then range a what=1", "then ("]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
