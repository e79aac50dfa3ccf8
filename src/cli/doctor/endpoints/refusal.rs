//! Servers that refuse a `Host` they were not told of, known by what they say,
//! and the setting that tells them.
//!
//! Each text was taken from the program itself: Vite 8.3, webpack-dev-server
//! 4.15 and 5.2, Django 5.2, jupyter_server 2.21, Starlette 1.10; that of Rails
//! from its templates (`rescues/blocked_host`, Rails 6 to 8).

use crate::host::HostPattern;

/// Who refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    Vite {
        /// `vite preview` has a setting of its own.
        preview: bool,
    },
    Webpack,
    Django {
        /// Its page says which setting it is; else it is a bare 400.
        debug: bool,
    },
    Rails,
    Jupyter,
    Starlette,
    /// It takes its own address, and not the site's name.
    Unknown,
}

/// What an answer to `GET /` says, if it is a refusal. `head` and `body`: as
/// far as they were read.
pub fn recognise(status: u16, head: &str, body: &str) -> Option<Program> {
    match status {
        403 if body.contains("Blocked request. This host (") => Some(Program::Vite {
            preview: body.contains("`preview.allowedHosts`"),
        }),
        // 200 in version 4.
        200 | 403 if body.trim() == "Invalid Host header" => Some(Program::Webpack),
        400 if body.trim() == "Invalid host header" => Some(Program::Starlette),
        400 if body.contains("Invalid HTTP_HOST header") && body.contains("to ALLOWED_HOSTS") => {
            Some(Program::Django { debug: true })
        }
        400 if body.contains("<h1>Bad Request (400)</h1><p></p>") => {
            Some(Program::Django { debug: false })
        }
        403 if body.contains("Blocked host") && body.contains("config.hosts") => {
            Some(Program::Rails)
        }
        // Why, only its log says; without a token it redirects, and refuses
        // `GET /` for nothing else.
        403 if head.contains("/api/security/csp-report") || body.contains(">Jupyter Server<") => {
            Some(Program::Jupyter)
        }
        _ => None,
    }
}

impl Program {
    pub(super) fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::Vite { .. } => "Vite",
            Self::Webpack => "webpack-dev-server",
            Self::Django { .. } => "Django",
            Self::Rails => "Rails",
            Self::Jupyter => "Jupyter",
            Self::Starlette => "Starlette",
            Self::Unknown => return None,
        })
    }

    /// The edit that lets a site's names in; `None`: it is not known.
    pub(super) fn setting(self, pattern: &HostPattern) -> Option<String> {
        // `.a.test` is a.test and all below it.
        let below = match pattern {
            HostPattern::Exact(name) => name.to_string(),
            HostPattern::Wildcard(parent) => format!(".{parent}"),
        };
        let is_wildcard = matches!(pattern, HostPattern::Wildcard(_));
        Some(match self {
            Self::Vite { preview } => {
                let part = if preview { "preview" } else { "server" };
                format!("in vite.config.js: `{part}: {{ allowedHosts: ['{below}'] }}`")
            }
            Self::Webpack => {
                format!("in webpack.config.js: `devServer: {{ allowedHosts: ['{below}'] }}`")
            }
            // An empty list means localhost, and one that is not empty does not.
            Self::Django { .. } => {
                format!("in settings.py: `ALLOWED_HOSTS += ['{below}', 'localhost']`")
            }
            Self::Rails => {
                format!("in config/environments/development.rb: `config.hosts << \"{below}\"`")
            }
            Self::Jupyter if is_wildcard => {
                "in jupyter_server_config.py: `c.ServerApp.allow_remote_access = True`".to_owned()
            }
            Self::Jupyter => format!(
                "in jupyter_server_config.py: `c.ServerApp.local_hostnames = ['localhost', '{below}']`"
            ),
            Self::Starlette => {
                format!("`TrustedHostMiddleware` of the app: `allowed_hosts=['{pattern}']`")
            }
            Self::Unknown => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_known_by_what_they_say() {
        let check = |status, head: &str, body: &str, want: Option<Program>| {
            assert_eq!(recognise(status, head, body), want, "{status} {body}");
        };
        let vite = |setting: &str| {
            format!(
                "Blocked request. This host (\"app.xyz.com\") is not allowed.\n\
                 To allow this host, add \"app.xyz.com\" to `{setting}` in vite.config.js."
            )
        };
        let server = Program::Vite { preview: false };
        check(403, "", &vite("server.allowedHosts"), Some(server));
        let preview = Program::Vite { preview: true };
        check(403, "", &vite("preview.allowedHosts"), Some(preview));
        check(200, "", "Invalid Host header", Some(Program::Webpack));
        check(403, "", "Invalid Host header", Some(Program::Webpack));
        check(400, "", "Invalid host header", Some(Program::Starlette));
        check(200, "", "my page about `Invalid Host header`", None);
        let django = "<pre class=\"exception_value\">Invalid HTTP_HOST header: &#x27;app.xyz.com&#x27;. \
                      You may need to add &#x27;app.xyz.com&#x27; to ALLOWED_HOSTS.</pre>";
        check(400, "", django, Some(Program::Django { debug: true }));
        check(
            400,
            "",
            "<h1>Bad Request (400)</h1><p></p>",
            Some(Program::Django { debug: false }),
        );
        let rails =
            "<h1>Blocked hosts: app.xyz.com</h1> <pre>config.hosts &lt;&lt; \"app.xyz.com\"</pre>";
        check(403, "", rails, Some(Program::Rails));
        let tornado =
            "Content-Security-Policy: frame-ancestors 'self'; report-uri /api/security/csp-report";
        check(
            403,
            tornado,
            "<h1>403 : Forbidden</h1>",
            Some(Program::Jupyter),
        );
        check(302, tornado, "", None);
        check(403, "", "<h1>Forbidden</h1>", None);
        check(200, "", "hello", None);
    }

    #[test]
    fn the_setting_is_for_the_names_of_the_site() {
        let check = |program: Program, host: &str, want: Option<&str>| {
            let setting = program.setting(&HostPattern::parse(host).unwrap());
            assert_eq!(setting.is_some(), want.is_some());
            let setting = setting.unwrap_or_default();
            assert!(setting.contains(want.unwrap_or_default()), "{setting}");
        };
        let vite = Program::Vite { preview: false };
        check(vite, "a.test", Some("server: { allowedHosts: ['a.test'] }"));
        check(vite, "*.p.test", Some("['.p.test']"));
        let preview = Program::Vite { preview: true };
        check(preview, "a.test", Some("preview: { allowedHosts"));
        check(
            Program::Webpack,
            "a.test",
            Some("devServer: { allowedHosts: ['a.test'] }"),
        );
        let django = Program::Django { debug: true };
        check(
            django,
            "*.p.test",
            Some("ALLOWED_HOSTS += ['.p.test', 'localhost']"),
        );
        check(Program::Rails, "a.test", Some("config.hosts << \"a.test\""));
        check(
            Program::Jupyter,
            "a.test",
            Some("local_hostnames = ['localhost', 'a.test']"),
        );
        check(
            Program::Jupyter,
            "*.p.test",
            Some("allow_remote_access = True"),
        );
        check(
            Program::Starlette,
            "*.p.test",
            Some("allowed_hosts=['*.p.test']"),
        );
        check(Program::Unknown, "a.test", None);
    }
}
