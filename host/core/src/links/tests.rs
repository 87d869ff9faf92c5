use super::*;
use crate::message::peer::MemberKind;

const PLACE: &str = "tcp://b";

fn at(ms: u64) -> Time {
    Time::from_micros(ms * 1000)
}

fn member(boot: u64) -> Member {
    Member { name: "b".parse().unwrap(), boot, renewal: 0, role: MemberKind::Node, endpoint: PLACE.into() }
}

struct Fixture(Links);

impl Fixture {
    fn new() -> Self {
        Self(Links::new(PeerSettings::default(), &[Seed::at(PLACE)], 0))
    }

    fn linked() -> (Self, LinkId) {
        let mut scene = Self::new();
        let link = scene.dials(0);
        scene.0.welcomed(link, member(1), at(0));
        assert_eq!(scene.effects(), [LinkEffect::Up { link, member: member(1) }]);
        (scene, link)
    }

    fn effects(&mut self) -> Vec<LinkEffect> {
        std::iter::from_fn(|| self.0.next_effect()).collect()
    }

    /// Wakes the links at a time, and returns the link that they dial.
    fn dials(&mut self, ms: u64) -> LinkId {
        match self.wake(ms, false).as_slice() {
            [LinkEffect::Dial { link, endpoint, .. }] if endpoint == PLACE => *link,
            other => panic!("it should dial, but: {other:?}"),
        }
    }

    fn wake(&mut self, ms: u64, is_busy: bool) -> Vec<LinkEffect> {
        self.0.wake(|_| is_busy, at(ms));
        self.effects()
    }
}

#[test]
fn a_seed_is_dialled_again_and_again_each_time_after_a_longer_pause() {
    let mut scene = Fixture::new();
    let mut now = 0;
    for pause in [100, 200, 400, 800, 1600, 2000, 2000] {
        let link = scene.dials(now);
        scene.0.down(link, "refused", at(now));
        assert_eq!(scene.effects(), [LinkEffect::Failed { endpoint: PLACE.into(), why: "refused".into() }]);
        assert_eq!(scene.0.next_wake(), Some(at(now + pause)));
        now += pause;
    }
}

#[test]
fn a_member_that_sent_a_message_is_dialled_without_backoff() {
    let mut scene = Fixture::new();
    let link = scene.dials(0);
    scene.0.down(link, "refused", at(0));
    scene.effects();
    scene.0.retain(&member(2), at(10));
    let link = scene.dials(10);
    scene.0.retain(&member(2), at(20));
    assert_eq!(scene.wake(20, false), [], "a dial is under way");
    scene.0.welcomed(link, member(2), at(20));
    scene.0.retain(&member(2), at(30));
    assert_eq!(scene.0.next_wake(), None, "it is linked");
}

#[test]
fn a_node_without_a_welcome_in_time_is_hung_up() {
    let mut scene = Fixture::new();
    let link = scene.dials(0);
    assert_eq!(scene.0.next_wake(), Some(at(3_000)));
    assert!(scene.wake(3_000, false).contains(&LinkEffect::HangUp(link)));
    assert_eq!(scene.0.to(&member(1).name), None);
}

#[test]
fn a_peer_that_owes_an_answer_is_pinged_and_unresponsive_after_three_heartbeats() {
    let (mut scene, link) = Fixture::linked();
    assert_eq!(scene.0.next_wake(), None, "a peer that owes no answer is not pinged");
    scene.0.expect_answer(link, at(10_000));
    assert_eq!(scene.wake(10_250, true), [LinkEffect::Ping(link)]);
    assert_eq!(scene.wake(10_500, true), [LinkEffect::Ping(link)]);
    assert_eq!(
        scene.wake(10_750, true),
        [LinkEffect::Unresponsive { link, is_unresponsive: true }, LinkEffect::Ping(link)]
    );
    assert!(scene.0.is_unresponsive(link));
    assert_eq!(
        scene.wake(11_000, false),
        [LinkEffect::Ping(link)],
        "the pings continue, so that it can become responsive"
    );
    scene.0.received(link, at(11_100));
    assert_eq!(scene.effects(), [LinkEffect::Unresponsive { link, is_unresponsive: false }]);
    assert_eq!(scene.wake(11_250, false), []);
    assert_eq!(scene.0.next_wake(), None);
}

#[test]
fn a_peer_that_answers_is_never_unresponsive() {
    let (mut scene, link) = Fixture::linked();
    scene.0.expect_answer(link, at(0));
    for beat in 1..20 {
        assert_eq!(scene.wake(beat * 250, true), [LinkEffect::Ping(link)]);
        scene.0.received(link, at(beat * 250));
    }
}

#[test]
fn a_link_without_messages_is_closed_and_dialled_again() {
    let (mut scene, link) = Fixture::linked();
    scene.0.expect_answer(link, at(0));
    let mut effects = Vec::new();
    for beat in 1..=20 {
        effects = scene.wake(beat * 250, true);
    }
    let why = "it sent nothing within 5s; the transfer of a message must take less than peers.expiry".into();
    assert_eq!(effects, [LinkEffect::Down { link, member: member(1), why }, LinkEffect::HangUp(link)]);
    assert_ne!(scene.dials(5_100), link);
}

#[test]
fn a_node_that_was_suspended_closes_no_link_for_that() {
    let (mut scene, link) = Fixture::linked();
    scene.0.expect_answer(link, at(0));
    assert_eq!(scene.wake(60_250, true), [LinkEffect::Ping(link)], "as if no time had passed");
    assert_eq!(scene.wake(60_500, true), [LinkEffect::Ping(link)]);
    scene.0.received(link, at(60_600));
    assert_eq!(scene.wake(60_750, false), []);
}

#[test]
fn a_restarted_member_replaces_the_earlier_process() {
    let (mut scene, link) = Fixture::linked();
    scene.0.down(link, "lost", at(1_000));
    assert_eq!(scene.effects(), [LinkEffect::Down { link, member: member(1), why: "lost".into() }]);
    let link = scene.dials(1_100);
    scene.0.welcomed(link, member(2), at(1_100));
    assert_eq!(scene.effects(), [LinkEffect::Up { link, member: member(2) }]);
    scene.0.release(&member(1), |_| false, at(1_200));
    assert_eq!(scene.effects(), [], "the death of the earlier process does not affect the new one");
}

#[test]
fn a_member_that_leaves_owing_an_answer_keeps_its_link_until_it_is_unresponsive() {
    let (mut scene, link) = Fixture::linked();
    scene.0.expect_answer(link, at(0));
    scene.0.release(&member(1), |_| true, at(100));
    assert_eq!(scene.effects(), []);
    for ms in [250, 500, 750] {
        scene.wake(ms, true);
    }
    scene.0.release(&member(1), |_| true, at(800));
    let why = "it is not a member of the zone".into();
    assert_eq!(scene.effects(), [LinkEffect::Down { link, member: member(1), why }, LinkEffect::HangUp(link)]);
}

#[test]
fn a_link_to_a_process_that_ended_is_replaced_immediately() {
    let (mut scene, link) = Fixture::linked();
    scene.0.release(&member(1), |_| true, at(100));
    scene.0.retain(&member(2), at(200));
    let why = "it has restarted".into();
    assert_eq!(scene.effects(), [LinkEffect::Down { link, member: member(1), why }, LinkEffect::HangUp(link)]);
    scene.dials(200);
}

#[test]
fn a_process_that_lost_its_name_does_not_end_the_link_to_the_one_that_has_it() {
    let (mut scene, link) = Fixture::linked();
    let elsewhere = |boot| Member { endpoint: "tcp://elsewhere".into(), ..member(boot) };
    for (ms, boot, is_taken) in [(10, 0, false), (20_000, 0, false), (40_000, 2, true)] {
        scene.0.retain_briefly(&elsewhere(boot), at(ms));
        let [LinkEffect::Dial { link: other, .. }] = scene.wake(ms, false)[..] else { panic!("it should dial") };
        scene.0.welcomed(other, elsewhere(boot), at(ms));
        let effects = scene.effects();
        if is_taken {
            let up = LinkEffect::Up { link: other, member: elsewhere(boot) };
            assert!(effects.contains(&LinkEffect::HangUp(link)) && effects.contains(&up), "{effects:?}");
        } else {
            assert_eq!(effects, [LinkEffect::HangUp(other)]);
            assert_eq!(scene.0.to(&member(1).name), Some(link));
        }
    }
}

#[test]
fn two_endpoints_of_one_node_make_one_link() {
    let (mut scene, _) = Fixture::linked();
    let other = Member { endpoint: "tcp://alias".into(), ..member(1) };
    scene.0.retain(&other, at(0));
    scene.0.wake(|_| false, at(0));
    let Some(LinkEffect::Dial { link, .. }) = scene.0.next_effect() else { panic!("it should dial") };
    scene.0.welcomed(link, member(1), at(0));
    assert!(scene.effects().contains(&LinkEffect::HangUp(link)));
}

#[test]
fn this_node_itself_is_not_dialled_again_and_a_brief_link_not_for_ever() {
    let mut scene = Fixture::new();
    let link = scene.dials(0);
    scene.0.is_myself(link);
    assert_eq!(scene.effects(), [LinkEffect::HangUp(link)]);
    assert_eq!(scene.0.next_wake(), None);
    scene.0.retain_briefly(&member(1), at(0));
    let mut now = 0;
    while let Some(due) = scene.0.next_wake() {
        now = due.as_micros() / 1000;
        scene.0.wake(|_| false, due);
        if let Some(LinkEffect::Dial { link, .. }) = scene.0.next_effect() {
            scene.0.down(link, "refused", due);
            scene.effects();
        }
    }
    assert!((10_000..15_000).contains(&now), "{now}");
}

#[test]
fn a_node_that_sent_a_welcome_is_not_mistaken_for_this_one() {
    let (mut scene, link) = Fixture::linked();
    scene.0.is_myself(link);
    assert_eq!(scene.effects(), []);
    assert_eq!(scene.0.to(&member(1).name), Some(link));
    scene.0.down(link, "gone", at(0));
    assert_eq!(scene.0.to(&member(1).name), None);
}
