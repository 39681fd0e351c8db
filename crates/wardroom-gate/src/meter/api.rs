//! The model APIs that are known, and where their requests and answers say what they use.
//!
//! An API is known by its path, and by its host where a path alone says little. Everything about one API stands in one
//! place below; operators add others in the policy (`[[model_api]]`).

use std::rc::Rc;

use wardroom_model::HostName;
use wardroom_policy::network::PathPattern;
use wardroom_policy::{ModelApi, ModelFields, ModelShape};

use super::scan::{Field, Pointers};

/// How an API counts.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    /// Whose prices hold for a model that the table does not know; none for all.
    pub(crate) vendor: Option<&'static str>,
    pub(crate) request: Pointers,
    pub(crate) answer: Pointers,
    /// Whether its count of tokens in has those from a cache in it.
    pub(crate) cached_in_input: bool,
    /// Whether tokens come out at all.
    pub(crate) talks: bool,
}

/// What a request costs, as far as its place tells.
#[derive(Debug, Clone)]
pub(crate) enum Api {
    /// Tokens, counted in this way.
    Model(Rc<Shape>),
    /// Nothing.
    Free,
    /// Nobody can tell.
    Unknown,
}

/// An API that the policy declares.
#[derive(Debug, Clone)]
pub(crate) struct Declared {
    host: HostName,
    path: PathPattern,
    shape: Rc<Shape>,
}

impl From<&ModelApi> for Declared {
    fn from(api: &ModelApi) -> Self {
        let ModelApi { host, path, shape, at: _ } = api;
        let shape = match shape {
            ModelShape::AnthropicMessages => Dialect::Anthropic.shape(None),
            ModelShape::OpenaiChat => Dialect::Chat.shape(None),
            ModelShape::OpenaiResponses => Dialect::Responses.shape(None),
            ModelShape::Fields(fields) => own(fields),
        };
        Self { host: host.clone(), path: path.clone(), shape: Rc::new(shape) }
    }
}

/// An API that counts in fields of its own. The model of a request stands where that of its answer does.
fn own(fields: &ModelFields) -> Shape {
    let ModelFields { model, input, output, cached, input_includes_cached, max_output } = fields;
    let mut request = vec![(Field::Model, model)];
    request.extend(max_output.as_ref().map(|pointer| (Field::MaxOutput, pointer)));
    let mut answer = vec![(Field::Model, model), (Field::Input, input), (Field::Output, output)];
    answer.extend(cached.as_ref().map(|pointer| (Field::Cached, pointer)));
    let (request, answer) = (pointers(&request), pointers(&answer));
    Shape { vendor: None, request, answer, cached_in_input: *input_includes_cached, talks: true }
}

/// The APIs of one gate.
#[derive(Debug, Default)]
pub(crate) struct Apis {
    declared: Vec<Declared>,
}

impl Apis {
    pub(crate) fn new(declared: Vec<Declared>) -> Self {
        Self { declared }
    }

    /// What a request to a path is. `counts` says whether a limit of tokens or dollars hangs on it: then a path that looks
    /// like a known API is one at every host, as many hosts speak the same.
    pub(crate) fn of(&self, method: &str, host: &HostName, path: &str, counts: bool) -> Api {
        let path = path.split('?').next().unwrap_or_default();
        let declared = |api: &&Declared| api.host == *host && api.path.matches(path);
        if let Some(declared) = self.declared.iter().find(declared) {
            return Api::Model(Rc::clone(&declared.shape));
        }
        // Methods that do not make anything cost nothing at the APIs that are known.
        if matches!(method, "GET" | "HEAD" | "OPTIONS" | "DELETE") {
            return Api::Free;
        }
        let vendor = vendor(host);
        if FREE.iter().any(|(at, free)| Some(*at) == vendor && *free == path) {
            return Api::Free;
        }
        if vendor.is_none() && !counts {
            return Api::Unknown;
        }
        let known = KNOWN.iter().find(|(end, _)| path.ends_with(end));
        known.map_or(Api::Unknown, |(_, dialect)| Api::Model(Rc::new(dialect.shape(vendor))))
    }
}

fn vendor(host: &HostName) -> Option<&'static str> {
    let vendors = [("api.anthropic.com", "anthropic"), ("api.openai.com", "openai")];
    vendors.into_iter().find(|(name, _)| *name == host.as_str()).map(|(_, vendor)| vendor)
}

/// What costs nothing though it is posted.
const FREE: [(&str, &str); 2] =
    [("anthropic", "/v1/messages/count_tokens"), ("openai", "/v1/responses/input_tokens")];

/// Ends of paths, and what is spoken there.
const KNOWN: [(&str, Dialect); 4] = [
    ("/v1/messages", Dialect::Anthropic),
    ("/chat/completions", Dialect::Chat),
    ("/v1/responses", Dialect::Responses),
    ("/v1/embeddings", Dialect::Embeddings),
];

/// Where what stands in a JSON text.
type Places = &'static [(Field, &'static str)];

/// The APIs that come with Wardroom.
#[derive(Debug, Clone, Copy)]
enum Dialect {
    /// <https://docs.anthropic.com/en/api/messages>
    Anthropic,
    /// <https://platform.openai.com/docs/api-reference/chat>
    Chat,
    /// <https://platform.openai.com/docs/api-reference/responses>
    Responses,
    /// <https://platform.openai.com/docs/api-reference/embeddings>
    Embeddings,
}

impl Dialect {
    fn shape(self, vendor: Option<&'static str>) -> Shape {
        let (request, answer, cached_in_input): (Places, Places, bool) = match self {
            // In a stream, `message_start` has the input and each `message_delta` the output so far.
            Self::Anthropic => (
                &[(Field::Model, "/model"), (Field::MaxOutput, "/max_tokens")],
                &[
                    (Field::Model, "/model"),
                    (Field::Model, "/message/model"),
                    (Field::Input, "/usage/input_tokens"),
                    (Field::Input, "/message/usage/input_tokens"),
                    (Field::Output, "/usage/output_tokens"),
                    (Field::Cached, "/usage/cache_read_input_tokens"),
                    (Field::Cached, "/message/usage/cache_read_input_tokens"),
                    (Field::Written, "/usage/cache_creation_input_tokens"),
                    (Field::Written, "/message/usage/cache_creation_input_tokens"),
                    (Field::WrittenLong, "/usage/cache_creation/ephemeral_1h_input_tokens"),
                    (Field::WrittenLong, "/message/usage/cache_creation/ephemeral_1h_input_tokens"),
                ],
                false,
            ),
            // A stream says its usage only where the request asks for it (`stream_options.include_usage`).
            Self::Chat => (
                &[
                    (Field::Model, "/model"),
                    (Field::MaxOutput, "/max_tokens"),
                    (Field::MaxOutput, "/max_completion_tokens"),
                    (Field::Choices, "/n"),
                ],
                &[
                    (Field::Model, "/model"),
                    (Field::Input, "/usage/prompt_tokens"),
                    (Field::Output, "/usage/completion_tokens"),
                    (Field::Cached, "/usage/prompt_tokens_details/cached_tokens"),
                ],
                true,
            ),
            // In a stream, `response.completed` has the whole answer.
            Self::Responses => (
                &[(Field::Model, "/model"), (Field::MaxOutput, "/max_output_tokens")],
                &[
                    (Field::Model, "/model"),
                    (Field::Model, "/response/model"),
                    (Field::Input, "/usage/input_tokens"),
                    (Field::Input, "/response/usage/input_tokens"),
                    (Field::Output, "/usage/output_tokens"),
                    (Field::Output, "/response/usage/output_tokens"),
                    (Field::Cached, "/usage/input_tokens_details/cached_tokens"),
                    (Field::Cached, "/response/usage/input_tokens_details/cached_tokens"),
                ],
                true,
            ),
            // Nothing comes out but numbers: all that is counted goes in.
            Self::Embeddings => (
                &[(Field::Model, "/model")],
                &[(Field::Model, "/model"), (Field::Input, "/usage/prompt_tokens")],
                true,
            ),
        };
        let talks = !matches!(self, Self::Embeddings);
        Shape { vendor, request: pointers(request), answer: pointers(answer), cached_in_input, talks }
    }
}

/// JSON pointers (RFC 6901) as the reader wants them.
pub(crate) fn pointers<P: AsRef<str>>(list: &[(Field, P)]) -> Pointers {
    list.iter().map(|(field, pointer)| (*field, steps(pointer.as_ref()))).collect()
}

fn steps(pointer: &str) -> Vec<String> {
    pointer.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DECLARED: &str = r#"
[agent]
name = "scout"
[isolation]
kind = "cell"
[[network.allow]]
host = "llm.example.com"
inspect = true
[[model_api]]
host  = "llm.example.com"
path  = "/ask/**"
like = "openai-chat"
"#;

    fn kind(method: &str, host: &str, path: &str, counts: bool) -> &'static str {
        let policy = wardroom_policy::Policy::parse("scout.toml", DECLARED).unwrap();
        let declared = policy.model_apis().iter().map(Declared::from).collect();
        match Apis::new(declared).of(method, &HostName::parse(host).unwrap(), path, counts) {
            Api::Model(shape) if shape.cached_in_input => "counts like openai",
            Api::Model(_) => "counts like anthropic",
            Api::Free => "free",
            Api::Unknown => "unknown",
        }
    }

    #[test]
    fn an_api_is_known_by_its_host_and_path() {
        assert_eq!(
            kind("POST", "api.anthropic.com", "/v1/messages?beta=true", false),
            "counts like anthropic"
        );
        assert_eq!(kind("POST", "api.anthropic.com", "/v1/messages/count_tokens", true), "free");
        assert_eq!(kind("POST", "api.anthropic.com", "/v1/messages/batches", true), "unknown");
        assert_eq!(kind("POST", "api.openai.com", "/v1/chat/completions", false), "counts like openai");
        assert_eq!(kind("POST", "api.openai.com", "/v1/responses", false), "counts like openai");
        assert_eq!(kind("GET", "api.openai.com", "/v1/models", true), "free");
        assert_eq!(kind("POST", "api.openai.com", "/v1/images/generations", true), "unknown");
    }

    #[test]
    fn other_hosts_are_taken_for_one_only_where_a_limit_hangs_on_it() {
        assert_eq!(kind("POST", "openrouter.ai", "/api/v1/chat/completions", true), "counts like openai");
        assert_eq!(kind("POST", "openrouter.ai", "/api/v1/chat/completions", false), "unknown");
        assert_eq!(kind("POST", "chat.example.org", "/v1/messages", false), "unknown");
    }

    #[test]
    fn a_declared_api_is_one_below_its_path_alone() {
        assert_eq!(kind("POST", "llm.example.com", "/ask/me", false), "counts like openai");
        assert_eq!(kind("POST", "llm.example.com", "/tell", false), "unknown");
    }

    #[test]
    fn a_pointer_is_read_as_its_rfc_says() {
        assert_eq!(steps("/a~1b/m~0n/0"), ["a/b", "m~n", "0"]);
        assert_eq!(steps(""), Vec::<String>::new());
    }
}
