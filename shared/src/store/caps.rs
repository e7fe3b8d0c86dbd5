//! What orders have taken of budgets.

use super::schema::escaped;
use super::transaction::{Write, number};
use super::{Key, Store};
use crate::ids::ProgramId;
use crate::setup::CapUse;

fn key(program: &ProgramId, used: &CapUse) -> Key {
    let (program, cap) = (escaped(program.as_str()), escaped(used.cap.id.as_str()));
    Key::new(
        format!("Q#{program}#{cap}#{}", escaped(&used.whose)),
        format!("{}#", used.period),
    )
}

impl Store {
    /// The member of a transaction that removes what was taken of a budget.
    pub(super) fn untaken(&self, program: &ProgramId, used: &CapUse) -> Write {
        Write::Remove {
            table: self.core(),
            key: key(program, used),
            only: None,
        }
    }

    /// The member of a conversion's transaction that takes its part of a budget, if there is as much
    /// left; none where the part alone is more than the whole.
    pub(super) fn taken(&self, program: &ProgramId, used: &CapUse) -> Option<Write> {
        let mut conditions: Vec<&str> = Vec::new();
        let mut values = vec![
            (":one".into(), number(1)),
            (":amount".into(), number(used.amount.minor())),
        ];
        if let Some(most) = used.cap.count {
            if most == 0 {
                return None;
            }
            conditions.push("(attribute_not_exists(#count) OR #count < :most)");
            values.push((":most".into(), number(i64::from(most))));
        }
        if let Some(most) = used.cap.amount {
            let room = most.minor() - used.amount.minor();
            if room < 0 {
                return None;
            }
            conditions.push("(attribute_not_exists(used) OR used <= :room)");
            values.push((":room".into(), number(room)));
        }
        Some(Write::Change {
            table: self.core(),
            key: key(program, used),
            set: "ADD #count :one, used :amount".to_owned(),
            condition: conditions.join(" AND "),
            values,
        })
    }
}
