//! audit used LOG USER ROLES: the user needed all that the roles (a list in JSON) allow, and was
//! denied nothing. audit idle LOG USER FROM TO: the user wrote nothing but Leases between two
//! times.
//!
//! LOG is an audit log of the API server. Prints each problem, and fails if there is one.

#![forbid(unsafe_code)]

use std::fs::read_to_string;

use quorate_test_e2e::audit;

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let (requests, problems) = match args[..] {
        ["used", log, user, roles] => {
            let requests = audit::requests(&read_to_string(log)?, user)?;
            let rules = audit::rules(&read_to_string(roles)?)?;
            let problems = [audit::denied(&requests), audit::unused(&requests, &rules)].concat();
            (requests.len(), problems)
        }
        ["idle", log, user, from, to] => {
            let requests = audit::requests(&read_to_string(log)?, user)?;
            (requests.len(), audit::writes(&requests, from, to))
        }
        _ => anyhow::bail!("usage: audit used LOG USER ROLES | audit idle LOG USER FROM TO"),
    };
    for problem in &problems {
        println!("{problem}");
    }
    anyhow::ensure!(requests > 0, "the log has no request of the user");
    anyhow::ensure!(problems.is_empty(), "{} problems in {requests} requests", problems.len());
    println!("{requests} requests");
    Ok(())
}
