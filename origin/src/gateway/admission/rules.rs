//! What admission asks of each kind of event: one row a kind. A kind without a row is refused as `invalid`.

use chorus_protocol::codes::Reason;
use chorus_protocol::event::{AuthorRole, kind};
use chorus_protocol::{CommentId, UserId};

use crate::store::Author;

/// Every kind that may be published.
const RULES: [Rule; 3] = [
    Rule {
        kind: kind::COMMENT,
        role_min: AuthorRole::User,
        target: None,
        to_ended: false,
        counted: true,
    },
    Rule {
        kind: kind::REMOVAL,
        role_min: AuthorRole::Moderator,
        target: Some(Target {
            its_author_may: true,
            done_when_removed: true,
        }),
        to_ended: true,
        counted: false,
    },
    Rule {
        kind: kind::UPDATE,
        role_min: AuthorRole::Moderator,
        target: Some(Target {
            its_author_may: false,
            done_when_removed: false,
        }),
        to_ended: true,
        counted: false,
    },
];

/// What is asked of events of one kind.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) kind: &'static str,
    /// Who may publish it: this role and those above.
    pub(super) role_min: AuthorRole,
    /// Of what is about a comment; other kinds name none.
    pub(super) target: Option<Target>,
    /// Whether a stream that has ended takes it.
    pub(super) to_ended: bool,
    /// Whether it counts as a comment in its author's limits.
    pub(super) counted: bool,
}

/// What is asked of the comment an event is about. It must be there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Who wrote it may publish the event, whatever its role.
    pub(super) its_author_may: bool,
    /// Of a removed comment: answered as stored under the removal's id; else as if there were no such comment.
    pub(super) done_when_removed: bool,
}

/// Why an event is not published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Not {
    Allowed(Reason),
    /// An event of this id has done the same.
    Needed(CommentId),
}

impl Rule {
    /// The row of a kind.
    pub(super) fn of(kind: &str) -> Option<&'static Self> {
        RULES.iter().find(|rule| rule.kind == kind)
    }

    /// What can be said without a look at the target.
    pub(super) fn check_role(&self, role: AuthorRole) -> Result<(), Not> {
        let its_author_may = self.target.as_ref().is_some_and(|it| it.its_author_may);
        if role < self.role_min && !its_author_may {
            return Err(Not::Allowed(Reason::Forbidden));
        }
        Ok(())
    }

    /// Whether `by` may publish it about a comment; `author`: `None` when there is no such comment.
    pub(super) fn check_target(
        &self,
        author: Option<&Author>,
        by: &UserId,
        role: AuthorRole,
    ) -> Result<(), Not> {
        let Some(target) = &self.target else {
            return Ok(());
        };
        let author = author.ok_or(Not::Allowed(Reason::CommentNotFound))?;
        let own = target.its_author_may && author.user == by.as_str();
        if role < self.role_min && !own {
            return Err(Not::Allowed(Reason::Forbidden));
        }
        match author.removed_by {
            Some(id) if target.done_when_removed => Err(Not::Needed(id)),
            Some(_) => Err(Not::Allowed(Reason::CommentNotFound)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ada(removed_by: Option<CommentId>) -> Author {
        let user = "ada".to_owned();
        Author { user, removed_by }
    }

    #[test]
    fn a_comment_is_taken_away_by_its_author_and_by_moderators_once() {
        let rule = Rule::of(kind::REMOVAL).expect("has a row");
        let check = |author: Option<Author>, by: &str, role| {
            let by: UserId = by.parse().expect("a user");
            rule.check_role(role)
                .and_then(|()| rule.check_target(author.as_ref(), &by, role))
        };
        let (user, moderator) = (AuthorRole::User, AuthorRole::Moderator);
        assert_eq!(check(Some(ada(None)), "ada", user), Ok(()));
        assert_eq!(check(Some(ada(None)), "mod", moderator), Ok(()));
        let forbidden = Err(Not::Allowed(Reason::Forbidden));
        assert_eq!(check(Some(ada(None)), "bob", user), forbidden);
        assert_eq!(check(Some(ada(Some(CommentId(7)))), "bob", user), forbidden);
        let missing = Err(Not::Allowed(Reason::CommentNotFound));
        assert_eq!(check(None, "ada", user), missing);
        let done = Err(Not::Needed(CommentId(7)));
        assert_eq!(check(Some(ada(Some(CommentId(7)))), "ada", user), done);
    }

    #[test]
    fn what_moderators_alone_may_do_is_refused_before_any_look_up() {
        let rule = Rule::of(kind::UPDATE).expect("has a row");
        let by = "ada".parse().expect("a user");
        let forbidden = Err(Not::Allowed(Reason::Forbidden));
        assert_eq!(rule.check_role(AuthorRole::User), forbidden);
        let role = AuthorRole::Broadcaster;
        assert_eq!(rule.check_role(role), Ok(()));
        assert_eq!(rule.check_target(Some(&ada(None)), &by, role), Ok(()));
        let gone = ada(Some(CommentId(7)));
        let missing = Err(Not::Allowed(Reason::CommentNotFound));
        assert_eq!(rule.check_target(Some(&gone), &by, role), missing);
        assert_eq!(Rule::of("applause"), None);
    }
}
