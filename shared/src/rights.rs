//! Who may do what: four roles, and one table.

mod key;

pub use key::{ApiKey, KeyText, key_id_of};

use crate::http_types::Problem;
use crate::ids::{AffiliateId, KeyId, MerchantId};

/// In whose name a key acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    Admin,
    Finance,
    Merchant(MerchantId),
    Affiliate(AffiliateId),
}

/// Somebody whose key is authentic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub key: KeyId,
    pub role: Role,
    /// "Another person" means another one of these, not another key.
    pub person: String,
}

/// How far a right goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    Nothing,
    /// What belongs to the caller's merchant or affiliate.
    Own,
    Everything,
}

/// Whom something belongs to, as far as it matters to rights.
///
/// An affiliate belongs to a merchant that it is enrolled with, and a program to an affiliate
/// that is enrolled in it: whoever asks fills in that relation.
#[derive(Debug, Clone, Copy, Default)]
pub struct Subject<'a> {
    pub merchant: Option<&'a MerchantId>,
    pub affiliate: Option<&'a AffiliateId>,
}

/// What became of a question about rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    Allowed,
    /// It sees the thing and may not do that to it: 403.
    Forbidden,
    /// For this caller there is no such thing: 404.
    Invisible,
}

macro_rules! table {
    ($($(#[$doc:meta])* $action:ident seen_by $read:ident: $finance:ident $merchant:ident $affiliate:ident;)+) => {
        /// Something that a caller may want to do.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Action {
            $($(#[$doc])* $action),+
        }

        impl Action {
            #[cfg(test)]
            const ALL: &'static [Self] = &[$(Self::$action),+];

            /// The reading that must be allowed for a refusal to admit that the thing exists.
            fn seen_by(self) -> Self {
                match self {
                    $(Self::$action => Self::$read),+
                }
            }

            /// The one table of rights. An admin may do everything.
            fn reach(self, role: &Role) -> Reach {
                use Reach::{Everything as all, Nothing as no, Own as own};

                let (finance, merchant, affiliate) = match self {
                    $(Self::$action => ($finance, $merchant, $affiliate)),+
                };
                match role {
                    Role::Admin => all,
                    Role::Finance => finance,
                    Role::Merchant(_) => merchant,
                    Role::Affiliate(_) => affiliate,
                }
            }
        }
    };
}

table! {
    // What                                           finance    merchant affiliate
    ReadKeys            seen_by ReadKeys:             no         no       no;
    WriteKeys           seen_by ReadKeys:             no         no       no;
    ReadAudit           seen_by ReadAudit:            no         no       no;
    ReadPayers          seen_by ReadPayers:           all        no       no;
    WritePayers         seen_by ReadPayers:           all        no       no;
    ReadMerchants       seen_by ReadMerchants:        all        own      no;
    WriteMerchants      seen_by ReadMerchants:        no         no       no;
    /// Of the merchant's customers, and of its programs' visitors.
    EraseData           seen_by ReadMerchants:        no         own      no;
    ReadSecrets         seen_by ReadSecrets:          no         own      no;
    WriteSecrets        seen_by ReadSecrets:          no         own      no;
    ReadPrograms        seen_by ReadPrograms:         all        own      own;
    WritePrograms       seen_by ReadPrograms:         no         own      no;
    ReadAffiliates      seen_by ReadAffiliates:       all        own      own;
    CreateAffiliates    seen_by ReadAffiliates:       no         no       no;
    /// An affiliate its name, e-mail, country and payout details; an admin all of it.
    ChangeAffiliates    seen_by ReadAffiliates:       no         no       own;
    ReadEnrolments      seen_by ReadEnrolments:       all        own      own;
    /// An affiliate asks to come in, as the program's `join` has it.
    CreateEnrolments    seen_by ReadEnrolments:       no         own      own;
    /// An affiliate agrees to newer terms.
    ChangeEnrolments    seen_by ReadEnrolments:       no         own      own;
    ReadLinks           seen_by ReadLinks:            all        own      own;
    WriteLinks          seen_by ReadLinks:            no         own      own;
    ReadCoupons         seen_by ReadCoupons:          all        own      own;
    WriteCoupons        seen_by ReadCoupons:          no         own      no;
    /// With their refusals; an affiliate its own legs.
    ReadConversions     seen_by ReadConversions:      all        own      own;
    /// Approve, reject, reopen, amend, take back.
    DecideConversions   seen_by ReadConversions:      no         own      no;
    ReadClaims          seen_by ReadClaims:           all        own      own;
    MakeClaims          seen_by ReadClaims:           no         no       own;
    DecideClaims        seen_by ReadClaims:           no         own      no;
    /// With the entries behind them.
    ReadBalances        seen_by ReadBalances:         all        no       own;
    ReadAdjustments     seen_by ReadAdjustments:      all        no       no;
    WriteAdjustments    seen_by ReadAdjustments:      all        no       no;
    RunPayouts          seen_by RunPayouts:           all        no       no;
    ReadPayouts         seen_by ReadPayouts:          all        no       own;
    WritePayouts        seen_by ReadPayouts:          all        no       no;
    ReadPaymentFiles    seen_by ReadPaymentFiles:     all        no       no;
    WritePaymentFiles   seen_by ReadPaymentFiles:     all        no       no;
    ReadReports         seen_by ReadReports:          all        no       no;
    ReadPeriods         seen_by ReadPeriods:          all        no       no;
    WritePeriods        seen_by ReadPeriods:          all        no       no;
    ReadStatements      seen_by ReadStatements:       all        no       own;
    ReadStats           seen_by ReadStats:            all        own      own;
}

impl Caller {
    /// How far the caller's right to an action goes: what a list may show.
    #[must_use]
    pub fn reach(&self, action: Action) -> Reach {
        action.reach(&self.role)
    }

    /// Whether the caller may do that to something that exists.
    #[must_use]
    pub fn decide(&self, action: Action, subject: Subject<'_>) -> Decision {
        if self.covers(action.reach(&self.role), subject) {
            Decision::Allowed
        } else if self.covers(action.seen_by().reach(&self.role), subject) {
            Decision::Forbidden
        } else {
            Decision::Invisible
        }
    }

    /// As [`Caller::decide`], as an answer.
    ///
    /// # Errors
    /// 403 or 404.
    pub fn may(&self, action: Action, subject: Subject<'_>) -> Result<(), Problem> {
        match self.decide(action, subject) {
            Decision::Allowed => Ok(()),
            Decision::Forbidden => Err(Problem::forbidden("forbidden")),
            Decision::Invisible => Err(Problem::not_found()),
        }
    }

    /// Whether the caller may do that to anything at all: the first question of a request that names
    /// nothing, before anything is read.
    ///
    /// # Errors
    /// 403 or 404.
    pub fn may_at_all(&self, action: Action) -> Result<(), Problem> {
        match (self.reach(action), self.reach(action.seen_by())) {
            (Reach::Nothing, Reach::Nothing) => Err(Problem::not_found()),
            (Reach::Nothing, _) => Err(Problem::forbidden("forbidden")),
            _ => Ok(()),
        }
    }

    /// Whether the caller sees any thing of an action's kind: the first question about one that is named,
    /// before it is read. What it may do to that one, [`Caller::may`] says.
    ///
    /// # Errors
    /// 404.
    pub fn sees_any(&self, action: Action) -> Result<(), Problem> {
        match (self.reach(action), self.reach(action.seen_by())) {
            (Reach::Nothing, Reach::Nothing) => Err(Problem::not_found()),
            _ => Ok(()),
        }
    }

    fn covers(&self, reach: Reach, subject: Subject<'_>) -> bool {
        match reach {
            Reach::Nothing => false,
            Reach::Everything => true,
            Reach::Own => match &self.role {
                Role::Admin | Role::Finance => false,
                Role::Merchant(merchant) => subject.merchant == Some(merchant),
                Role::Affiliate(affiliate) => subject.affiliate == Some(affiliate),
            },
        }
    }

    /// The merchant that the key acts for.
    #[must_use]
    pub fn merchant(&self) -> Option<&MerchantId> {
        match &self.role {
            Role::Merchant(merchant) => Some(merchant),
            _ => None,
        }
    }

    /// The affiliate that the key acts for.
    #[must_use]
    pub fn affiliate(&self) -> Option<&AffiliateId> {
        match &self.role {
            Role::Affiliate(affiliate) => Some(affiliate),
            _ => None,
        }
    }

    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.role == Role::Admin
    }
}

impl Role {
    /// The word on the wire.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Finance => "finance",
            Self::Merchant(_) => "merchant",
            Self::Affiliate(_) => "affiliate",
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn caller(role: Role) -> Caller {
        Caller {
            key: KeyId::parse("k1").unwrap(),
            role,
            person: "Pat".into(),
        }
    }

    fn shop(name: &str) -> MerchantId {
        MerchantId::parse(name).unwrap()
    }

    fn sender(name: &str) -> AffiliateId {
        AffiliateId::parse(name).unwrap()
    }

    /// What each role may do to its own and to others' things: + allowed, 3 forbidden, 4 invisible.
    #[test]
    fn the_whole_table_is_what_the_contract_says() {
        let (own_shop, other_shop) = (shop("shop"), shop("other"));
        let (own_sender, other_sender) = (sender("anna"), sender("bob"));
        let own = Subject {
            merchant: Some(&own_shop),
            affiliate: Some(&own_sender),
        };
        let other = Subject {
            merchant: Some(&other_shop),
            affiliate: Some(&other_sender),
        };
        let roles = [
            Role::Admin,
            Role::Finance,
            Role::Merchant(shop("shop")),
            Role::Affiliate(sender("anna")),
        ];

        let mut table = String::from("                  admin finance merchant affiliate\n");
        for &action in Action::ALL {
            table += &format!("{:18}", format!("{action:?}"));
            for role in &roles {
                let caller = caller(role.clone());
                let sign = |subject| match caller.decide(action, subject) {
                    Decision::Allowed => '+',
                    Decision::Forbidden => '3',
                    Decision::Invisible => '4',
                };
                table += &format!("    {}{}", sign(own), sign(other));
            }
            table += "\n";
        }
        expect![[r#"
                              admin finance merchant affiliate
            ReadKeys              ++    44    44    44
            WriteKeys             ++    44    44    44
            ReadAudit             ++    44    44    44
            ReadPayers            ++    ++    44    44
            WritePayers           ++    ++    44    44
            ReadMerchants         ++    ++    +4    44
            WriteMerchants        ++    33    34    44
            EraseData             ++    33    +4    44
            ReadSecrets           ++    44    +4    44
            WriteSecrets          ++    44    +4    44
            ReadPrograms          ++    ++    +4    +4
            WritePrograms         ++    33    +4    34
            ReadAffiliates        ++    ++    +4    +4
            CreateAffiliates      ++    33    34    34
            ChangeAffiliates      ++    33    34    +4
            ReadEnrolments        ++    ++    +4    +4
            CreateEnrolments      ++    33    +4    +4
            ChangeEnrolments      ++    33    +4    +4
            ReadLinks             ++    ++    +4    +4
            WriteLinks            ++    33    +4    +4
            ReadCoupons           ++    ++    +4    +4
            WriteCoupons          ++    33    +4    34
            ReadConversions       ++    ++    +4    +4
            DecideConversions     ++    33    +4    34
            ReadClaims            ++    ++    +4    +4
            MakeClaims            ++    33    34    +4
            DecideClaims          ++    33    +4    34
            ReadBalances          ++    ++    44    +4
            ReadAdjustments       ++    ++    44    44
            WriteAdjustments      ++    ++    44    44
            RunPayouts            ++    ++    44    44
            ReadPayouts           ++    ++    44    +4
            WritePayouts          ++    ++    44    34
            ReadPaymentFiles      ++    ++    44    44
            WritePaymentFiles     ++    ++    44    44
            ReadReports           ++    ++    44    44
            ReadPeriods           ++    ++    44    44
            WritePeriods          ++    ++    44    44
            ReadStatements        ++    ++    44    +4
            ReadStats             ++    ++    +4    +4
        "#]]
        .assert_eq(&table);
    }

    #[test]
    fn what_belongs_to_nobody_is_nobodys_own() {
        let nobody = Subject::default();
        for role in [
            Role::Merchant(shop("shop")),
            Role::Affiliate(sender("anna")),
        ] {
            assert_eq!(
                caller(role).decide(Action::ReadPrograms, nobody),
                Decision::Invisible
            );
        }
        assert_eq!(
            caller(Role::Finance).decide(Action::ReadPrograms, nobody),
            Decision::Allowed
        );
        assert_eq!(
            caller(Role::Finance).decide(Action::WritePrograms, nobody),
            Decision::Forbidden
        );
    }

    #[test]
    fn a_refusal_says_no_more_than_the_caller_may_know() {
        let shop = caller(Role::Merchant(shop("shop")));
        let status = |action| {
            shop.may_at_all(action)
                .map_err(|problem| problem.status.as_u16())
        };
        assert_eq!(status(Action::WritePrograms), Ok(()));
        assert_eq!(status(Action::WriteMerchants), Err(403));
        assert_eq!(status(Action::WritePayers), Err(404));
        assert_eq!(
            shop.may(Action::ReadPayers, Subject::default()),
            Err(Problem::not_found())
        );
    }
}
