//! What the sticker world says about its scenes is true, short, and made of words that it knows.

use alignscope::world::{
    Direction, Ground, Language, Object, QuestionKind, Scene, Split, Thing, all_phrases, segment, vocabulary,
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// The built-in checkpoints leave room for so many words.
const MOST_WORDS: usize = 22;

fn scenes(split: Split, seeds: std::ops::Range<u64>) -> impl Iterator<Item = Scene> {
    seeds.map(move |seed| Scene::random(split, seed))
}

fn thing(name: &str) -> Thing {
    Thing::try_from(name.to_owned()).expect("the thing exists")
}

fn scene_of(objects: &[(&str, i32, i32, u32)]) -> Scene {
    let objects = objects.iter().map(|&(name, x, y, size)| Object { thing: thing(name), x, y, size });
    Scene { ground: Ground::Plain { colour: [200; 3] }, objects: objects.collect() }
}

#[test]
fn phrases_name_visible_objects() {
    for language in Language::ALL {
        for scene in scenes(Split::Test, 0..100) {
            let phrases = scene.phrases(language);
            assert_eq!(phrases.iter().map(|phrase| phrase.objects.len()).sum::<usize>(), scene.objects.len());
            for phrase in phrases {
                assert!(phrase.with_article.ends_with(&phrase.text));
                assert!(scene.mask_of(&phrase.objects).as_raw().contains(&255), "{} isn't seen", phrase.text);
                assert!(phrase.objects.iter().all(|&index| scene.objects[index].thing == phrase.thing));
            }
        }
    }
}

#[test]
fn all_texts_are_short_and_made_of_the_vocabulary() {
    for language in Language::ALL {
        let words = vocabulary(language);
        let mut unique = words.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), words.len(), "a word occurs twice");
        let check = |text: &str| {
            let parts = segment(text, language);
            assert!(!parts.is_empty() && parts.len() <= MOST_WORDS, "{} words: {text}", parts.len());
            assert!(parts.iter().all(|part| words.contains(&part.as_str())), "unknown word in {text}: {parts:?}");
            if language == Language::Chinese {
                assert_eq!(parts.concat(), text);
            }
        };
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for split in Split::ALL {
            for scene in scenes(split, 0..700) {
                for _ in 0..4 {
                    check(&scene.caption(language, &mut rng));
                }
                for question in scene.questions(language) {
                    check(&question.text);
                    check(&question.answer);
                }
            }
        }
        all_phrases(language).iter().for_each(|phrase| check(&phrase.with_article));
    }
}

#[test]
fn chinese_words_are_found_again() {
    let words = ["一", "只", "猫", "在", "两", "个", "红色", "的", "三角形", "的", "左边"];
    assert_eq!(segment(&words.concat(), Language::Chinese), words);
    // Every phrase is known word by word: the segmentation must not merge or split its parts.
    for count in 1..=4 {
        for thing in Thing::all() {
            let text = thing.counted(count, Language::Chinese);
            let parts = segment(&text, Language::Chinese);
            assert_eq!(parts.len(), if thing.is_shape() { 5 } else { 3 }, "{text}: {parts:?}");
        }
    }
    assert_eq!(segment("有火车吗？", Language::Chinese), ["有", "火车", "吗", "？"]);
}

#[test]
fn captions_say_what_is_there() {
    let scene = scene_of(&[("cat", 10, 90, 72), ("red ball", 170, 95, 72)]);
    let apples = scene_of(&[("apple", 10, 10, 72), ("apple", 150, 10, 72), ("dog", 10, 150, 72)]);
    for (scene, language, allowed) in [
        (
            &scene,
            Language::English,
            vec![
                "a cat and a red ball",
                "a red ball and a cat",
                "a cat left of a red ball",
                "a red ball right of a cat",
                "a cat",
                "cat",
                "a red ball",
                "red ball",
            ],
        ),
        (
            &scene,
            Language::Chinese,
            vec![
                "一只猫和一个红色的球",
                "一个红色的球和一只猫",
                "一只猫在一个红色的球的左边",
                "一个红色的球在一只猫的右边",
                "一只猫",
                "猫",
                "一个红色的球",
                "红色的球",
            ],
        ),
        (
            &apples,
            Language::English,
            vec!["two apples and a dog", "a dog and two apples", "two apples", "apple", "a dog", "dog"],
        ),
        (&apples, Language::Chinese, vec!["两个苹果和一只狗", "一只狗和两个苹果", "两个苹果", "苹果", "一只狗", "狗"]),
    ] {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut found: Vec<String> = (0..500).map(|_| scene.caption(language, &mut rng)).collect();
        found.sort();
        found.dedup();
        let mut allowed = allowed;
        allowed.sort_unstable();
        assert_eq!(found, allowed);
    }
    assert_eq!(scene_of(&[]).caption(Language::English, &mut ChaCha8Rng::seed_from_u64(0)), "");
    assert_eq!(thing("elephant").counted(1, Language::English), "an elephant");
}

/// Middles in pixels, worked out anew from the places.
fn middle(object: &Object) -> (f64, f64) {
    let half = f64::from(object.size) / 2.0;
    (f64::from(object.x) + half, f64::from(object.y) + half)
}

fn is_truly(one: &Object, direction: &str, other: &Object) -> bool {
    let ((x, y), (other_x, other_y)) = (middle(one), middle(other));
    match direction {
        "left" => x + 40.0 < other_x,
        "right" => x > other_x + 40.0,
        "above" => y + 40.0 < other_y,
        "below" => y > other_y + 40.0,
        _ => panic!("{direction} is no direction"),
    }
}

#[test]
fn relation_captions_are_true() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut seen = 0;
    for scene in scenes(Split::Training, 0..3000) {
        let caption = scene.caption(Language::English, &mut rng);
        for (words, direction) in
            [(" left of ", "left"), (" right of ", "right"), (" above ", "above"), (" below ", "below")]
        {
            let Some((one, other)) = caption.split_once(words) else {
                continue;
            };
            let object = |phrase: &str| {
                let found: Vec<_> = scene
                    .objects
                    .iter()
                    .filter(|object| object.thing.counted(1, Language::English) == phrase)
                    .collect();
                assert_eq!(found.len(), 1, "{phrase} isn't the only one: {caption}");
                found[0]
            };
            assert!(is_truly(object(one), direction, object(other)), "{caption}: {scene:?}");
            seen += 1;
        }
    }
    assert!((500..900).contains(&seen), "{seen} relations of 3000 captions");
}

#[test]
fn where_questions_are_true_and_need_a_look() {
    let mut seen = [0; 4];
    for scene in scenes(Split::Test, 0..3000) {
        for question in scene.questions(Language::English) {
            if question.kind != QuestionKind::Where {
                continue;
            }
            let (answer, from) = (&scene.objects[question.objects[0]], &scene.objects[question.objects[1]]);
            assert_eq!(question.answer, answer.thing.phrase(Language::English));
            let direction = question.text.split(' ').nth(2).expect("the third word");
            assert!(is_truly(answer, direction, from), "{}: {scene:?}", question.text);
            let clear = Direction::between(from, answer);
            let there = scene.objects.iter().filter(|object| Direction::between(from, object) == clear).count();
            assert_eq!(there, 1, "{} has more than one answer", question.text);
            assert!(scene.objects.len() >= 3, "the other object is always the answer");
            if let Some(direction) = clear {
                seen[direction as usize] += 1;
            }
        }
    }
    assert!(seen.iter().all(|&count| count > 200), "directions are asked about {seen:?} times");
}

#[test]
fn answers_are_true_and_half_of_the_presence_questions_are_yes() {
    let (mut yes, mut no) = (0, 0);
    let (mut one, mut several) = (0, 0);
    for scene in scenes(Split::Test, 0..1000) {
        for language in Language::ALL {
            for question in scene.questions(language) {
                let there = question.objects.len();
                match question.kind {
                    QuestionKind::Presence => {
                        let is_yes = ["yes", "有"].contains(&question.answer.as_str());
                        assert_eq!(is_yes, there > 0, "{}", question.text);
                        *(if is_yes { &mut yes } else { &mut no }) += 1;
                    }
                    QuestionKind::Count => {
                        let words = [["one", "two", "three", "four"], ["一", "二", "三", "四"]][language as usize];
                        assert_eq!(question.answer, words[there - 1], "{}", question.text);
                        *(if there == 1 { &mut one } else { &mut several }) += 1;
                    }
                    QuestionKind::Name => assert_eq!(scene.objects.len(), 1),
                    QuestionKind::Colour => {
                        assert!(
                            scene.objects[question.objects[0]].thing.phrase(language).starts_with(&question.answer)
                        );
                    }
                    QuestionKind::Where => {}
                }
            }
        }
    }
    assert_eq!(yes, no);
    let share = f64::from(one) / f64::from(one + several);
    assert!((0.4..0.6).contains(&share), "{share} of the counts are one");
}

#[test]
fn foils_are_false_by_one_change() {
    use alignscope::world::FoilKind;
    let mut kinds = std::collections::BTreeMap::new();
    for seed in 0..600 {
        let scene = Scene::random(Split::Test, seed);
        for language in Language::ALL {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let statement = scene.statement(language, &mut rng);
            assert!(scene.satisfies(&statement.claim), "{}", statement.text);
            let Some((kind, foil)) = scene.foil(&statement.claim, language, &mut rng) else { continue };
            assert!(!scene.satisfies(&foil.claim) && foil.text != statement.text, "{} / {}", statement.text, foil.text);
            let words = |text: &str| segment(text, language);
            let (was, is) = (words(&statement.text), words(&foil.text));
            let changed = was.iter().filter(|word| !is.contains(word)).count();
            assert!(changed <= 4, "{} / {}", statement.text, foil.text);
            *kinds.entry(format!("{kind:?}")).or_insert(0) += 1;
        }
    }
    for kind in FoilKind::ALL {
        assert!(kinds.get(&format!("{kind:?}")).is_some_and(|count| *count > 20), "{kind:?}: {kinds:?}");
    }
}
