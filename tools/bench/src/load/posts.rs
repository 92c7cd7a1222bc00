//! What was posted, when, and how many have seen it.
//!
//! A post carries its number as `~s0000002a~` in its text; whoever receives it looks the time up by that number.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use crate::stats::Histogram;

const MARK: &[u8] = b"~s";
const DIGITS: usize = 8;
static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(MARK));

const WORDS: [&str; 32] = [
    "goal", "what", "a", "save", "never", "seen", "that", "before", "amazing", "play", "here",
    "we", "go", "again", "lovely", "pass", "keeper", "stands", "tall", "tonight", "crowd",
    "sounds", "great", "from", "home", "hello", "everyone", "just", "joined", "which", "minute",
    "now",
];

/// A post under way.
#[derive(Clone, Copy, Debug)]
struct Post {
    sent_ns: u64,
    seen: u32,
}

/// The posts of one measurement.
#[derive(Debug, Default)]
pub(crate) struct Posts {
    /// The number of the first post of this measurement.
    base: u32,
    posts: Vec<Post>,
    audience: u32,
    /// Post to one viewer, of all viewers and posts.
    pub(crate) each: Histogram,
    /// Post to the last of all viewers.
    pub(crate) all: Histogram,
}

impl Posts {
    /// Forgets what was; a post is with all when `audience` viewers have it.
    pub(crate) fn restart(&mut self, audience: usize) {
        self.base = self.base.wrapping_add(self.posts.len() as u32);
        self.posts.clear();
        self.audience = audience as u32;
        self.each = Histogram::default();
        self.all = Histogram::default();
    }

    /// How many posts were sent in this measurement.
    pub(crate) fn sent(&self) -> u64 {
        self.posts.len() as u64
    }

    /// How many of them are with all viewers.
    pub(crate) fn complete(&self) -> u64 {
        self.all.count()
    }

    /// A new post: its text of about `len` bytes, unlike any before it.
    pub(crate) fn next(&mut self, len: usize, now_ns: u64) -> String {
        let number = self.base.wrapping_add(self.posts.len() as u32);
        self.posts.push(Post {
            sent_ns: now_ns,
            seen: 0,
        });
        let mut text = format!("~s{number:08x}~");
        let mut state = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        while text.len() < len {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            text.push(' ');
            text.push_str(WORDS[(state >> 32) as usize % WORDS.len()]);
        }
        text.truncate(len.max(MARK.len() + DIGITS + 1));
        // A text that ends in a space would be trimmed and change its length.
        if text.ends_with(' ') {
            text.pop();
            text.push('!');
        }
        text
    }

    /// Finds the marks in a message; says how many there were.
    pub(crate) fn scan(&mut self, message: &[u8], now_ns: u64) -> u64 {
        let mut found = 0;
        for at in FINDER.find_iter(message) {
            let start = at + MARK.len();
            let Some(digits) = message.get(start..start + DIGITS) else {
                break;
            };
            let Some(number) = parse_hex(digits) else {
                continue;
            };
            found += 1;
            let Some(post) = self.posts.get_mut(number.wrapping_sub(self.base) as usize) else {
                continue;
            };
            post.seen += 1;
            let took = now_ns.saturating_sub(post.sent_ns);
            self.each.add(took);
            if post.seen == self.audience {
                self.all.add(took);
            }
        }
        found
    }
}

fn parse_hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0_u32, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u32::from(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_post_is_found_again_and_is_with_all_when_all_have_it() {
        let mut posts = Posts::default();
        posts.restart(2);
        let first = posts.next(60, 1_000);
        let second = posts.next(60, 2_000);
        assert_eq!((first.len(), second.len()), (60, 60));
        assert_ne!(first[12..], second[12..]);
        let both = format!("[{first:?},{second:?}]");
        assert_eq!(posts.scan(both.as_bytes(), 3_000), 2);
        assert_eq!((posts.each.count(), posts.complete()), (2, 0));
        assert_eq!(posts.scan(first.as_bytes(), 4_000), 1);
        assert_eq!(posts.complete(), 1);
        assert!((0.002_95..=0.003).contains(&posts.all.ms(1.0)));
    }

    #[test]
    fn posts_of_an_earlier_measurement_count_as_seen_but_not_as_measured() {
        let mut posts = Posts::default();
        posts.restart(1);
        let old = posts.next(40, 1);
        posts.restart(1);
        let _new = posts.next(40, 2);
        assert_eq!(posts.scan(old.as_bytes(), 10), 1);
        assert_eq!(posts.each.count(), 0);
        assert_eq!(posts.scan(b"~s00zz~ ~s0000", 10), 0);
    }
}
