//! Whole texts: each disguise, however people set it, shows its sentence in some view, and ordinary texts get no such view.

use super::{JudgedText, ViewKind};

/// Sentences of everyday words.
const SENTENCES: [&str; 4] = [
    "how do i bake a chocolate cake for twenty people",
    "please tell me where the museum keeps the old paintings",
    "write a short story about a lion that wanted to learn the piano",
    "what is the best way to grow tomatoes on a small balcony",
];

fn views(text: &str) -> Vec<(ViewKind, String)> {
    let judged = JudgedText::new(text).unwrap_or_else(|e| panic!("{text}: {e}"));
    judged.views().iter().map(|v| (v.kind(), v.text().to_lowercase())).collect()
}

fn shows(text: &str, sentence: &str) {
    let views = views(text);
    assert!(views.iter().any(|(_, view)| view.contains(sentence)), "{text}\n{sentence}\n{views:#?}");
}

/// Each sentence in this disguise, alone, behind a request, and among plain sentences.
fn undone(disguise: impl Fn(&str) -> String) {
    for sentence in SENTENCES {
        let written = disguise(sentence);
        shows(&written, sentence);
        shows(&format!("Read this and answer:\n{written}"), sentence);
        shows(&format!("We went to the lake on Sunday. {written} - thank you very much, my friend"), sentence);
    }
}

fn each(text: &str, by: &str, with: impl Fn(char) -> String) -> String {
    text.chars().map(with).collect::<Vec<_>>().join(by)
}

fn words(text: &str, by: &str, with: impl Fn(usize, &str) -> String) -> String {
    text.split(' ').enumerate().map(|(i, w)| with(i, w)).collect::<Vec<_>>().join(by)
}

const BASE32: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const BASE64: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The bytes in digits of so many bits.
fn digits(text: &str, alphabet: &[u8], width: usize) -> String {
    let bits: Vec<u8> = text.bytes().flat_map(|b| (0..8).rev().map(move |i| b >> i & 1)).collect();
    let digit = |bits: &[u8]| (0..width).fold(0, |n, i| n << 1 | usize::from(bits.get(i).copied().unwrap_or(0)));
    bits.chunks(width).map(|chunk| char::from(alphabet[digit(chunk)])).collect()
}

#[test]
fn encodings_are_undone_level_by_level() {
    undone(|t| digits(t, BASE32, 5));
    undone(|t| digits(t, BASE32, 5).to_lowercase());
    undone(|t| digits(t, BASE64, 6));
    undone(|t| digits(&digits(t, BASE64, 6), BASE64, 6));
    undone(|t| digits(&digits(&digits(t, BASE64, 6), BASE32, 5), BASE64, 6));
    undone(|t| digits(&each(t, "\u{200B}", String::from), BASE64, 6));
    undone(|t| each(&digits(t, BASE64, 6), "\u{200B}", String::from));
    undone(|t| each(t, "", |c| format!("{:02x}", u32::from(c))));
    undone(|t| each(t, "", |c| format!("{:08b}", u32::from(c))));
    undone(|t| each(t, " ", |c| format!("{:07b}", u32::from(c))));
    for by in [" ", ", ", ",", "-", "\n"] {
        undone(|t| each(t, by, |c| u32::from(c).to_string()));
    }
    undone(|t| each(t, " ", |c| format!("{:03o}", u32::from(c))));
}

#[test]
fn morse_and_letters_upside_down_are_undone() {
    const CODES: [&str; 26] = [
        ".-", "-...", "-.-.", "-..", ".", "..-.", "--.", "....", "..", ".---", "-.-", ".-..", "--", "-.", "---",
        ".--.", "--.-", ".-.", "...", "-", "..-", "...-", ".--", "-..-", "-.--", "--..",
    ];
    let code = |c: char| CODES[usize::try_from(u32::from(c) - u32::from('a')).unwrap()].to_owned();
    undone(|t| words(t, " / ", |_, w| each(w, " ", code)));
    undone(|t| words(t, "   ", |_, w| each(w, " ", code)));
    undone(|t| words(t, "\n", |_, w| each(w, " ", code)));
    undone(|t| words(t, " / ", |_, w| each(w, " ", code)).replace('.', "·").replace('-', "–"));
    const TURNED: &str = "ɐqɔpǝɟƃɥᴉɾʞlɯuodbɹsʇnʌʍxʎz";
    let turn = |c: char| TURNED.chars().nth((u32::from(c) as usize).wrapping_sub(97)).unwrap_or(c).to_string();
    undone(|t| each(&t.chars().rev().collect::<String>(), "", turn));
    undone(|t| each(t, "", turn));
}

#[test]
fn turned_texts_are_undone() {
    undone(|t| t.chars().rev().collect());
    undone(|t| words(t, " ", |_, w| w.chars().rev().collect()));
    for by in [1, 7, 13, 25] {
        undone(|t| {
            let turn = |c: char| if c == ' ' { c } else { char::from((c as u8 - b'a' + by) % 26 + b'a') };
            t.chars().map(turn).collect()
        });
    }
}

#[test]
fn spellings_are_undone() {
    // Letters held, in every word or in every other.
    undone(|t| each(t, "", |c| if "aeiou".contains(c) { c.to_string().repeat(3) } else { c.to_string() }));
    undone(|t| {
        words(t, " ", |i, w| if i % 2 == 0 { format!("{w}{}", &w[w.len() - 1..].repeat(3)) } else { w.to_owned() })
    });
    // Words torn.
    undone(|t| words(t, " ", |_, w| if w.len() > 3 { format!("{} {}", &w[..2], &w[2..]) } else { w.to_owned() }));
    undone(|t| words(t, " ", |_, w| if w.len() > 3 { format!("{} {}", &w[..1], &w[1..]) } else { w.to_owned() }));
    // One word to a line or a cell.
    undone(|t| words(t, "\n", |i, w| format!("{}. {w}", i + 1)));
    undone(|t| words(t, "\n", |i, w| format!("| {i} | {w} |")));
    undone(|t| words(t, " | ", |_, w| w.to_owned()));
    // Whole words of look-alikes.
    let twin =
        |c: char| "аЬсеһіјкмортѕхуʏ".chars().nth("abcehijkmoptsxyy".find(c).unwrap_or(99)).unwrap_or(c).to_string();
    undone(|t| each(t, "", twin));
}

/// Texts that are not disguised. Views that read letters otherwise than they stand have nothing to find in them.
#[rustfmt::skip]
const ORDINARY: [&str; 58] = [
    "Как пройти к музею? Там есть кот, и он там не один. А вот и сам кот, он там сам.",
    "Завтра утром мы поедем на дачу, а вечером вернёмся домой. Кто там? Это наш сосед, он тоже там.",
    "В то утро я встал рано, а мама уже варила кашу. Нам так и не сказали, как там было.",
    "Какво има тук? Там има вода, а тук няма нито капка. Къде е гарата, моля?",
    "Музеят отваря в девет часа и затваря в пет, а в събота е отворен до обяд.",
    "Де тут каса? Там, а він там і вихід. Хто там? Мама та тато вдома.",
    "Музей відчиняється о дев'ятій ранку, а квитки можна купити біля входу.",
    "Ово је кућа, а то је врата. Тамо је мост и река, а овамо парк.",
    "Πού είναι το μουσείο και πότε ανοίγει; Το εισιτήριο κοστίζει δέκα ευρώ.",
    "Μα το νερό και το κρασί, τα πήρα και τα δύο. Η μητέρα μου είναι εδώ, και ο πατέρας.",
    "متى يفتح المتحف أبوابه يوم الأحد؟ سعر التذكرة عشرة دراهم للكبار وخمسة للأطفال.",
    "מתי המוזיאון פתוח ביום ראשון? הכרטיסים נמכרים בכניסה.",
    "می‌خواهم بدانم موزه چه ساعتی باز می‌شود و بلیت چند است.",
    "क्या संग्रहालय रविवार को खुला है? टिकट प्रवेश द्वार पर मिलते हैं।",
    "พิพิธภัณฑ์เปิดเก้าโมงเช้า ซื้อตั๋วที่ทางเข้าทุกวัน",
    "博物馆早上九点开门。门票在入口处出售，孩子们喜欢二楼的模型。",
    "博物館は九時に開きます。チケットは入口で売っています。",
    "박물관은 아홉 시에 문을 엽니다. 표는 입구에서 팝니다.",
    "Bảo tàng mở cửa lúc chín giờ sáng và đóng cửa lúc năm giờ chiều.",
    "Wo ist das Museum und wann macht es am Sonntag auf? Der Eintritt kostet fuer Kinder nichts.",
    "Donde esta el museo y a que hora abre el domingo por la manana? Los billetes se venden en la entrada.",
    "Ou est le musee et a quelle heure ouvre-t-il le dimanche matin? Les billets sont en vente a la caisse.",
    "Dove si trova il museo e a che ora apre la domenica mattina? I biglietti costano dieci euro.",
    "Onde fica o museu e a que horas abre no domingo? Os bilhetes custam dez euros.",
    "Waar is het museum en hoe laat gaat het open? Kaarten staan klaar aan de kassa, maar daar staan vaak veel mensen.",
    "Missa museo on ja mihin aikaan se avataan? Kaikki haluavat tietaa sen, mutta kukaan ei vastaa puhelimeen.",
    "Hvor ligger museet, og hva koster billettene for to voksne og tre barn?",
    "Gdzie jest muzeum i o ktorej otwieraja w niedziele? Bilety sprzedaja przy wejsciu.",
    "Muze nerede ve pazar gunu saat kacta aciliyor? Biletler giriste satiliyor.",
    "Di mana museum dan jam berapa buka pada hari Minggu? Tiket dijual di pintu masuk.",
    "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor incididunt ut labore.",
    "fn main() {\n\tlet plan = read(&path)?;\n\tfor (i, row) in plan.iter().enumerate() { show(\"{i}: {row:?}\"); }\n}",
    "for (int i = 0; i < n; i++) { s += a[i] * b[i]; } /* dot product */ return s;",
    "#include <stdio.h>\nint main(int argc, char **argv) { char *p = argv[1]; while (*p) putchar(*p++); }",
    "SELECT u.id, u.name, COUNT(o.id) FROM users u LEFT JOIN orders o ON o.uid = u.id GROUP BY u.id HAVING COUNT(o.id) > 5;",
    "{\"id\": 12345, \"name\": \"Ann\", \"open\": [65, 70, 75, 80, 85, 90, 95, 100], \"tags\": [\"a\", \"b\"]}",
    "{ \"width\": 12, \"height\": 9, \"depth\": 4, \"x\": 1, \"y\": 2, \"z\": 3 }",
    "2026-03-01T09:15:22Z INFO http: GET /api/v2/users?id=5&sort=asc 200 12ms ua=curl/8.5 ip=192.168.100.101",
    "Mar  1 09:15:22 host1 sshd[1234]: Accepted publickey for ann from 10.32.45.99 port 50122 ssh2",
    "commit 3f0e15a9c2d41d8cd98f00b204e9800998ecf842\nAuthor: Ann <ann@mail.example>\nindex 72954ac..ceee1aa 100644",
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  empty.bin",
    "id 550e8400-e29b-41d4-a716-446655440000, etag W/\"5d8c72a5edda8-1f40\", build 20260301.4",
    "52.5200 N, 13.4050 E; 48.8566 N, 2.3522 E; 40.7128 N, 74.0060 W; 35.6895 N, 139.6917 E",
    "Ann 555-0100, Bob 555-0101, Eve 555-0102, Tom 555-0103, office 555-0199 ext. 12, fax 555-0198",
    "ISBN 978-3-16-148410-0 | 24.90 | Hardback\nISBN 978-0-306-40615-7 | 12.90 | Paperback\nISBN 978-1-4028-9462-6 | 9.90 | Audio",
    "Across: 1 Feline (3) 4 Not hot (4) 7 Sea eagle (3) 9 Ruler of old Russia (4)\nDown: 2 Ancient (3) 3 Ripped (4) 5 Gem (4)",
    "| Day | Low | High |\n|---|---|---|\n| Mon | 61 | 75 |\n| Tue | 59 | 78 |\n| Wed | 65 | 82 |\n| Thu | 66 | 85 |",
    "1. milk\n2. bread\n3. butter\n4. apples\n5. cheese\n6. salt\n7. rice\n8. tea",
    "- - - - - - - -\n* * * * * * *\n. . . . . . . . .\n-- -- -- -- -- --",
    "Contents ........ 1\nFirst chapter ........ 5\nSecond chapter ........ 19\nIndex ........ 212",
    "118/76 122/80 115/74 120/79 119/77 121/81 117/75 116/74",
    "rgb(112, 128, 144), rgb(105, 105, 105), rgb(119, 136, 153), rgb(47, 79, 79)",
    "Mr Brzezinski, Krzysztof Szczepanski of Gdansk and Agnieszka Wojciechowska met Dr Nguyen and Ms Okonkwo.",
    "The word is said /ˈmjuːzɪəm/ in English, and [muˈzɐw] or [mʌˈzɛːʊ] elsewhere; schwa is ə.",
    "∀x ∃y: x ∩ y = ∅, x ⊥ y, and f: X → Y with f(x) = 2·x for all x in X",
    "It was sooo good, hahaha! Hmmm, www.museum.example says so. AAA batteries, please, and a room in Block III.",
    "The film got *two* stars, the book got four** and the play **five** (see the notes * and ** below).",
    "Ingredients: 200 g flour, 100 g sugar, 2 eggs, 1 tsp salt, 50 ml milk, 75 g butter, 1 lemon. Bake 35 min at 180 C.",
];

#[test]
fn ordinary_texts_get_no_view_of_a_disguise() {
    // Loops and identifiers of code look spelled or written with digits for letters, and are read so as well.
    let seen = [ViewKind::Raw, ViewKind::Clean, ViewKind::Joined, ViewKind::Leet];
    let wrong: Vec<_> = ORDINARY.iter().flat_map(|text| views(text)).filter(|(kind, _)| !seen.contains(kind)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn words_of_ordinary_texts_keep_their_alphabet() {
    for text in ORDINARY.iter().filter(|text| text.chars().all(|c| !c.is_ascii_alphabetic())) {
        let views = views(text);
        assert!(views.iter().all(|(_, view)| view.chars().all(|c| !c.is_ascii_alphabetic())), "{views:#?}");
    }
}

#[test]
fn nothing_harmful_hides_behind_a_run_that_is_told() {
    // What is left of the raw text beside the told run stands in the decoded view as well.
    let encoded = digits("feed the cat at noon and again in the evening", BASE64, 6);
    let text = format!("first words {encoded} last words");
    let judged = JudgedText::new(&text).unwrap();
    let read: Vec<_> = judged.views().iter().filter(|v| !v.is_repeated()).map(|v| v.text()).collect();
    assert_eq!(read, ["first words feed the cat at noon and again in the evening last words"]);
    // A run that is not English beyond doubt keeps the raw text readable.
    for strange in ["vogonite frobnicate zarquon blix", "donde esta el museo de la ciudad"] {
        let text = format!("first words {} last words", digits(strange, BASE64, 6));
        let judged = JudgedText::new(&text).unwrap();
        assert!(judged.views().iter().all(|v| !v.is_repeated()) && judged.views().len() == 2, "{:?}", judged.views());
    }
    // Nor does a told run excuse another that is not.
    let text = format!("{encoded} {}", digits("vogonite frobnicate zarquon blix", BASE64, 6));
    assert!(!JudgedText::new(&text).unwrap().views()[0].is_repeated());
}
