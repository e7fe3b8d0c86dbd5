//! Who takes part in the demo.

/// A shop with one program.
pub struct Shop {
    pub id: &'static str,
    pub name: &'static str,
    pub program: &'static str,
    pub program_name: &'static str,
    pub currency: &'static str,
    pub hold_days: u32,
    pub approval: &'static str,
    /// The rules, as JSON.
    pub commission: &'static str,
    /// What an order is worth, from and to, in minor units.
    pub order_value: (u64, u64),
}

pub const SHOPS: [Shop; 3] = [
    Shop {
        id: "demo-nordlicht",
        name: "Nordlicht Outdoor",
        program: "demo-outdoor",
        program_name: "Tents and boots",
        currency: "EUR",
        hold_days: 14,
        approval: "auto",
        commission: r#"[{"type": "percent", "percent": "8"}]"#,
        order_value: (2_900, 32_000),
    },
    Shop {
        id: "demo-kaffa",
        name: "Kaffa Roasters",
        program: "demo-coffee",
        program_name: "Coffee by post",
        currency: "EUR",
        hold_days: 7,
        approval: "auto",
        commission: r#"[{"type": "flat", "amount": "9", "when": {"customer": "new"}}, {"type": "percent", "percent": "12.5"}]"#,
        order_value: (1_450, 8_900),
    },
    Shop {
        id: "demo-lingua",
        name: "Lingua School",
        program: "demo-courses",
        program_name: "Evening courses",
        currency: "USD",
        hold_days: 10,
        approval: "manual",
        commission: r#"[{"type": "flat", "amount": "25"}]"#,
        order_value: (14_900, 39_900),
    },
];

/// An affiliate: how many clicks it brings on a usual day, and how it is paid.
pub struct Sender {
    pub id: &'static str,
    pub name: &'static str,
    pub country: &'static str,
    pub clicks: u64,
    pub schedule: &'static str,
    pub minimum: &'static str,
    /// None: it has not said where to.
    pub currency: Option<&'static str>,
}

const fn sender(
    id: &'static str,
    name: &'static str,
    country: &'static str,
    clicks: u64,
    schedule: &'static str,
    minimum: &'static str,
    currency: Option<&'static str>,
) -> Sender {
    Sender {
        id,
        name,
        country,
        clicks,
        schedule,
        minimum,
        currency,
    }
}

pub const SENDERS: [Sender; 12] = [
    sender(
        "demo-anna",
        "Anna's trail notes",
        "DE",
        6,
        "weekly",
        "0",
        Some("EUR"),
    ),
    sender(
        "demo-bergblick",
        "Bergblick Magazine",
        "AT",
        5,
        "monthly",
        "50",
        Some("EUR"),
    ),
    sender(
        "demo-camp",
        "Camp and Cook",
        "NL",
        3,
        "daily",
        "0",
        Some("EUR"),
    ),
    sender(
        "demo-dana",
        "Dana drinks coffee",
        "FR",
        4,
        "weekly",
        "25",
        Some("EUR"),
    ),
    sender(
        "demo-espresso",
        "Espresso Forum",
        "IT",
        3,
        "monthly",
        "0",
        Some("EUR"),
    ),
    sender(
        "demo-frida",
        "Frida's deals",
        "SE",
        5,
        "daily",
        "10",
        Some("EUR"),
    ),
    sender(
        "demo-grammar",
        "Grammar Corner",
        "US",
        3,
        "monthly",
        "100",
        Some("USD"),
    ),
    sender(
        "demo-hola",
        "Hola Podcast",
        "US",
        2,
        "weekly",
        "0",
        Some("USD"),
    ),
    sender(
        "demo-ivo",
        "Ivo compares",
        "CZ",
        2,
        "monthly",
        "500",
        Some("EUR"),
    ),
    sender(
        "demo-jonas",
        "Jonas, unpaid so far",
        "DE",
        2,
        "monthly",
        "0",
        None,
    ),
    sender(
        "demo-kite",
        "Kite Newsletter",
        "DK",
        1,
        "weekly",
        "0",
        Some("EUR"),
    ),
    sender(
        "demo-lena",
        "Lena's classroom",
        "PL",
        2,
        "daily",
        "0",
        Some("USD"),
    ),
];
