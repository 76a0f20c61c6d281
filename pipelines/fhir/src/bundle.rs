//! Pages of a search.

use serde_json::{Value, json};

/// One page.
#[derive(Debug)]
pub struct Page {
    /// Where the server is reached, such as `https://localhost:8445`.
    pub base: String,
    /// The request itself, below it.
    pub itself: String,
    /// The next page, when there is one.
    pub next: Option<String>,
    /// What was found.
    pub resources: Vec<Value>,
    /// What is to be said of the answer.
    pub outcome: Option<Value>,
}

/// Makes the Bundle.
pub fn searchset(page: Page) -> Value {
    let Page { base, itself, next, resources, outcome } = page;
    let link = |relation: &str, of: &str| json!({ "relation": relation, "url": format!("{base}/{of}") });
    let links: Vec<Value> =
        [Some(link("self", &itself)), next.map(|next| link("next", &next))].into_iter().flatten().collect();
    let found = resources.into_iter().map(|resource| {
        let text = |name: &str| resource.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let url = format!("{base}/{}/{}", text("resourceType"), text("id"));
        json!({ "fullUrl": url, "resource": resource, "search": { "mode": "match" } })
    });
    let told = outcome.map(|outcome| json!({ "resource": outcome, "search": { "mode": "outcome" } }));
    let entries: Vec<Value> = found.chain(told).collect();
    let mut bundle = json!({ "resourceType": "Bundle", "type": "searchset", "link": links });
    // An empty array is no FHIR.
    if !entries.is_empty()
        && let Some(bundle) = bundle.as_object_mut()
    {
        bundle.insert("entry".into(), entries.into());
    }
    bundle
}
