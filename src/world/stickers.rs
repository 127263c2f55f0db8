//! The registry of stickers: one line each, and a new sticker is one more line (and a PNG in `assets/stickers/`).
//!
//! A new line goes at the end: the order is the order of the noun pairs in [`split`](super::split),
//! so a line in the middle would hold out other combinations than before.

/// What the world knows about one sticker: its words in both languages, and its picture.
pub(super) struct Entry {
    /// English singular, also the name in files.
    pub name: &'static str,
    /// English plural.
    pub plural: &'static str,
    /// Chinese noun.
    pub chinese: &'static str,
    /// Chinese measure word, as in 一**只**猫.
    pub measure: &'static str,
    /// A PNG of 128 x 128 pixels with alpha, filled by the sticker.
    pub png: &'static [u8],
}

macro_rules! stickers {
    ($($name:literal, $plural:literal, $chinese:literal, $measure:literal;)*) => {
        &[$(Entry {
            name: $name,
            plural: $plural,
            chinese: $chinese,
            measure: $measure,
            png: include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/stickers/", $name, ".png")),
        }),*]
    };
}

/// All stickers, in the order that never changes.
pub(super) const STICKERS: &[Entry] = stickers! {
    "cat", "cats", "猫", "只";
    "dog", "dogs", "狗", "只";
    "rabbit", "rabbits", "兔子", "只";
    "horse", "horses", "马", "匹";
    "cow", "cows", "牛", "头";
    "pig", "pigs", "猪", "头";
    "bear", "bears", "熊", "头";
    "lion", "lions", "狮子", "头";
    "elephant", "elephants", "大象", "头";
    "monkey", "monkeys", "猴子", "只";
    "bird", "birds", "鸟", "只";
    "penguin", "penguins", "企鹅", "只";
    "turtle", "turtles", "乌龟", "只";
    "snake", "snakes", "蛇", "条";
    "fish", "fish", "鱼", "条";
    "butterfly", "butterflies", "蝴蝶", "只";
    "bee", "bees", "蜜蜂", "只";
    "apple", "apples", "苹果", "个";
    "banana", "bananas", "香蕉", "根";
    "strawberry", "strawberries", "草莓", "个";
    "carrot", "carrots", "胡萝卜", "根";
    "mushroom", "mushrooms", "蘑菇", "个";
    "pizza", "pizzas", "比萨", "个";
    "cake", "cakes", "蛋糕", "个";
    "tree", "trees", "树", "棵";
    "flower", "flowers", "花", "朵";
    "cactus", "cactuses", "仙人掌", "棵";
    "car", "cars", "汽车", "辆";
    "bus", "buses", "公交车", "辆";
    "bicycle", "bicycles", "自行车", "辆";
    "train", "trains", "火车", "列";
    "boat", "boats", "船", "艘";
    "plane", "planes", "飞机", "架";
    "rocket", "rockets", "火箭", "枚";
    "house", "houses", "房子", "座";
    "cup", "cups", "杯子", "个";
    "key", "keys", "钥匙", "把";
    "clock", "clocks", "闹钟", "个";
    "umbrella", "umbrellas", "雨伞", "把";
    "guitar", "guitars", "吉他", "把";
    "camera", "cameras", "相机", "台";
    "book", "books", "书", "本";
    "chair", "chairs", "椅子", "把";
    "hat", "hats", "帽子", "顶";
    "shoe", "shoes", "鞋子", "只";
};
