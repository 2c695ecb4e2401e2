//! The admin API's own description, made from the types it takes: <https://spec.openapis.org/oas/v3.1.0>.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use std::sync::LazyLock;
use tollgate_runtime::{
    config::{Budget, Credential, Endpoint, Guardrails, Key, Price, Provider, Team, User},
    control::Object,
};
use tollgate_schemas::ObjectKind;
use utoipa::{ToSchema, openapi as oas};

/// `GET /admin/v1/openapi.json`: open to everybody, because it tells nothing of this gateway.
pub(super) async fn document() -> Response {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(made);
    Json(&*DOCUMENT).into_response()
}

/// What the section of a kind takes: the schema's name.
fn taken(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::Provider => "Provider",
        ObjectKind::Credential => "NewCredential",
        ObjectKind::Endpoint => "Endpoint",
        ObjectKind::Guardrail => "Guardrails",
        ObjectKind::Team => "Team",
        ObjectKind::User => "User",
        ObjectKind::Key => "Key",
        ObjectKind::Budget => "Budget",
        ObjectKind::Price => "Price",
    }
}

fn schema<T: ToSchema>(components: oas::ComponentsBuilder) -> oas::ComponentsBuilder {
    let mut all = vec![(T::name().into_owned(), T::schema())];
    T::schemas(&mut all);
    components.schemas_from_iter(all)
}

fn components() -> oas::Components {
    let mut all = oas::ComponentsBuilder::new();
    all = schema::<Object>(all);
    all = schema::<Provider>(all);
    all = schema::<Credential>(all);
    all = schema::<Endpoint>(all);
    all = schema::<Guardrails>(all);
    all = schema::<Team>(all);
    all = schema::<User>(all);
    all = schema::<Key>(all);
    all = schema::<Budget>(all);
    all = schema::<Price>(all);
    all.build()
}

fn made() -> Value {
    let info = oas::InfoBuilder::new().title("Tollgate admin API").version(env!("CARGO_PKG_VERSION"));
    let document = oas::OpenApiBuilder::new().info(info.build()).components(Some(components())).build();
    let mut document = serde_json::to_value(document).unwrap_or_default();
    let mut paths = serde_json::Map::new();
    for kind in ObjectKind::ALL {
        let section = kind.section();
        paths.insert(format!("/admin/v1/{section}"), collection(kind));
        paths.insert(format!("/admin/v1/{section}/{{name}}"), single(kind));
    }
    paths.insert("/admin/v1/keys/{name}/rotate".to_owned(), rotation());
    paths.insert(
        "/admin/v1/audit".to_owned(),
        json!({ "get": reading("changes", "The newest changes first.", json!([])) }),
    );
    paths.insert(
        "/admin/v1/config".to_owned(),
        json!({ "get": reading("config", "The configuration in effect.", json!([])) }),
    );
    document["paths"] = paths.into();
    document["components"]["securitySchemes"] = json!({ "key": { "type": "http", "scheme": "bearer" } });
    document["security"] = json!([{ "key": [] }]);
    let schemas = &mut document["components"]["schemas"];
    schemas["Error"] = error_shape();
    // What the server fills in is not asked of the caller.
    required(&mut schemas["Key"], &["team"]);
    for name in ["Endpoint", "Team", "User", "Key", "Price"] {
        let kept = schemas[name]["required"].as_array().cloned().unwrap_or_default();
        let kept: Vec<Value> = kept.into_iter().filter(|field| field != "name").collect();
        schemas[name]["required"] = kept.into();
    }
    schemas["NewCredential"] = json!({
        "type": "object", "required": ["provider", "api_key"],
        "properties": { "provider": { "type": "string" }, "api_key": { "type": "string", "minLength": 1 } },
    });
    document
}

fn required(schema: &mut Value, fields: &[&str]) {
    schema["required"] = fields.to_vec().into();
}

fn error_shape() -> Value {
    json!({
        "type": "object", "required": ["error"],
        "properties": { "error": { "type": "object", "required": ["message", "type", "code"], "properties": {
            "message": { "type": "string" }, "type": { "type": "string" },
            "param": { "type": ["string", "null"] }, "code": { "type": "string" },
        } } },
    })
}

fn refers(schema: &str) -> Value {
    json!({ "application/json": { "schema": { "$ref": format!("#/components/schemas/{schema}") } } })
}

/// The answers that any operation may give, and its own.
fn answers(own: &[(&str, &str, Option<&str>)]) -> Value {
    let mut all = json!({});
    let errors = [
        ("400", "The request is wrong, or the change would break something."),
        ("401", "No admin key, or one that is not known."),
        ("403", "The role does not allow it."),
        ("404", "There is no such object, or the caller may not see it."),
        ("405", "This route does not take that method."),
        ("412", "The object has changed meanwhile."),
        ("413", "The body is too large."),
        ("415", "The body's encoding is not taken."),
        ("503", "The log is away; try again."),
    ];
    for (status, why) in errors {
        all[status] = json!({ "description": why, "content": refers("Error") });
    }
    for (status, what, schema) in own {
        all[*status] = json!({ "description": what });
        if let Some(schema) = schema {
            all[*status]["content"] = refers(schema);
        }
    }
    all
}

fn name() -> Value {
    json!({ "name": "name", "in": "path", "required": true, "schema": { "type": "string", "minLength": 1, "maxLength": 256 } })
}

fn version() -> Value {
    json!({ "name": "if-match", "in": "header", "required": false, "schema": { "type": "string", "pattern": "^\"[0-9]{1,18}\"$" },
        "description": "The version that the change is to replace." })
}

fn reading(id: &str, what: &str, parameters: Value) -> Value {
    let mut responses = answers(&[]);
    responses["200"] =
        json!({ "description": what, "content": { "application/json": { "schema": { "type": "object" } } } });
    json!({ "operationId": id, "summary": what, "parameters": parameters, "responses": responses })
}

fn collection(kind: ObjectKind) -> Value {
    let section = kind.section();
    let page = json!([
        { "name": "after", "in": "query", "required": false, "schema": { "type": "string" } },
        { "name": "limit", "in": "query", "required": false, "schema": { "type": "integer", "minimum": 1, "maximum": 1000 } },
    ]);
    json!({
        "get": reading(&format!("list_{section}"), "A page of objects, by name.", page),
        "post": {
            "operationId": format!("create_{}", kind.as_str()), "summary": "Make an object.",
            "requestBody": { "required": true, "content": refers(taken(kind)) },
            "responses": answers(&[("201", "It is made.", Some("Object"))]),
        },
    })
}

fn single(kind: ObjectKind) -> Value {
    let what = kind.as_str();
    json!({
        "parameters": [name()],
        "get": {
            "operationId": format!("read_{what}"), "summary": "One object.",
            "responses": answers(&[("200", "The object.", Some("Object"))]),
        },
        "put": {
            "operationId": format!("update_{what}"), "summary": "Replace an object, or make it.", "parameters": [version()],
            "requestBody": { "required": true, "content": refers(taken(kind)) },
            "responses": answers(&[("200", "It is replaced.", Some("Object")), ("201", "It is made.", Some("Object"))]),
        },
        "delete": {
            "operationId": format!("delete_{what}"), "summary": "Remove an object.", "parameters": [version()],
            "responses": answers(&[("204", "It is gone.", None)]),
        },
    })
}

fn rotation() -> Value {
    json!({
        "parameters": [name()],
        "post": {
            "operationId": "rotate_key", "summary": "A new secret; the old one works for `grace`.", "parameters": [version()],
            "requestBody": { "required": true, "content": { "application/json": { "schema": {
                "type": "object", "required": ["grace"],
                "properties": { "grace": { "type": "string", "pattern": "^[0-9]{1,6}(ms|s|m|h)$" } },
            } } } },
            "responses": answers(&[("200", "The key, with its new secret.", Some("Object"))]),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every reference leads somewhere, so that tools can read the document.
    #[test]
    fn the_document_is_whole() {
        let document = made();
        let text = document.to_string();
        for reference in text.split("#/components/schemas/").skip(1) {
            let name = reference.split('"').next().expect("a name");
            assert!(document["components"]["schemas"][name].is_object(), "{name}");
        }
        assert_eq!(document["paths"].as_object().expect("paths").len(), 2 * ObjectKind::ALL.len() + 3);
        assert!(document["components"]["schemas"]["Key"]["properties"]["team"].is_object());
    }
}
