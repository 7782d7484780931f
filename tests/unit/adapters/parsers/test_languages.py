# ruff: noqa: RUF001 - the sentences stand in their own letters
"""Which language a text is in: right for whole sentences in twenty languages, silent rather than wrong for scraps."""

from __future__ import annotations

import pytest

from penstock.adapters.parsers.languages import Languages

SENTENCES = {
    "en": "The gate measures the water that flows into the turbine and nothing is lost.",
    "de": "Die Schleuse misst das Wasser, das in die Turbine fließt, und nichts geht verloren.",
    "fr": "La vanne mesure l'eau qui entre dans la turbine et rien ne se perd en chemin.",
    "es": "La compuerta mide el agua que entra en la turbina y nada se pierde en el camino.",
    "it": "La paratoia misura l'acqua che entra nella turbina e nulla va perso lungo la strada.",
    "pt": "A comporta mede a água que entra na turbina e nada se perde pelo caminho até lá.",
    "nl": "De sluis meet het water dat de turbine binnenkomt en onderweg gaat niets verloren.",
    "pl": "Zasuwa mierzy wodę, która wpływa do turbiny, i nic nie ginie po drodze do niej.",
    "cs": "Stavidlo měří vodu, která vtéká do turbíny, a nic se cestou neztratí ani nezapomene.",
    "sv": "Luckan mäter vattnet som rinner in i turbinen och ingenting går förlorat på vägen.",
    "fi": "Luukku mittaa turbiiniin virtaavan veden, eikä mitään katoa matkan varrella koskaan.",
    "tr": "Kapak türbine giren suyu ölçer ve yolda hiçbir şey kaybolmaz, her damla sayılır.",
    "hu": "A zsilip megméri a turbinába folyó vizet, és útközben semmi sem vész el belőle.",
    "ru": "Затвор измеряет воду, которая поступает в турбину, и ничего не теряется по пути.",
    "uk": "Затвор вимірює воду, яка надходить до турбіни, і нічого не губиться дорогою туди.",
    "el": "Η θυρίδα μετρά το νερό που μπαίνει στην τουρμπίνα και τίποτα δεν χάνεται.",
    "he": "השער מודד את המים שנכנסים לטורבינה ושום דבר לא הולך לאיבוד בדרך.",
    "ar": "تقيس البوابة الماء الذي يدخل التوربين ولا يضيع شيء في الطريق إليه.",
    "hi": "द्वार टरबाइन में जाने वाले पानी को मापता है और रास्ते में कुछ भी नहीं खोता।",
    "th": "ประตูน้ำวัดน้ำที่ไหลเข้าสู่กังหันและไม่มีอะไรสูญหายระหว่างทาง",
    "ko": "수문은 터빈으로 들어가는 물을 재고 도중에 아무것도 잃어버리지 않습니다.",
    "ja": "水門は水車に入る水を量り、途中で何も失われることはありません。",
    "zh": "水闸测量流入水轮机的水，途中没有任何东西丢失。",
    "vi": "Cửa cống đo lượng nước chảy vào tuabin và không có gì bị mất trên đường đi.",
}


@pytest.fixture(scope="module")
def languages() -> Languages:
    return Languages()


def test_whole_sentences(languages):
    told = {language: languages.of(sentence) for language, sentence in SENTENCES.items()}
    assert told == {language: language for language in SENTENCES}


@pytest.mark.parametrize("scrap", ["", "  ", "12 345 + 67", "ok", "x = 1", "...", "§ 4"])
def test_scraps_are_in_no_language(languages, scrap):
    assert languages.of(scrap) == ""


def test_a_few_foreign_words_do_not_decide(languages):
    assert languages.of(SENTENCES["en"] * 3 + "水門は") == "en"
    assert languages.of(SENTENCES["zh"] * 4 + "の") == "zh", "a borrowed kana makes no Japanese"
    assert languages.of("日本国憲法第九条" + "を守る。これは大切です。" * 2) == "ja"
