"""Words that say what kind of work is asked for, by language; the patterns match lower case.

Words of European languages are stems: they match at the beginning of a word. Chinese,
Japanese and Korean are written without spaces, or with endings: their words match anywhere.
"""

import re
from typing import Final


def _pattern(stems: str, anywhere: str = "") -> re.Pattern[str]:
    """Compile words separated by spaces; an underscore stands for a space in a phrase."""
    words = [re.escape(word).replace("_", r"\s+") for word in stems.split()]
    parts = [rf"\b(?:{'|'.join(words)})"]
    parts += [re.escape(word) for word in anywhere.split()]
    return re.compile("|".join(parts))


# Several steps that depend on one another: to prove, to design, to find a fault.
REASONING: Final = _pattern(
    """
    prove proof disprov deriv show_that justif design architect refactor optimi implement
    migrat evaluat critiqu analys analyz assess diagnos investigat synthesi propos defend argu
    debug root_cause trade-off tradeoff counterexample hypothes formali reconstruct determine
    rule_out step_by_step contradict rigor linearis linearize prioriti deduc
    beweis entwirf entwickl implementier analysier bewert begründ herleit optimier vergleich
    leite_her widerleg untersuch prüfe
    démontr prouv conçoi conçev analyse évalu justifi dédui réfut optimis concevoir
    demuestr demostr diseñ analiza evalú evalu justific deduc implementa optimiz
    докаж доказ спроектир проанализ оцени обосн выведи реализуй сравни
    prove_que analise avalie projete demonstre justifique
    dimostr analizza progetta valuta giustific
    udowodn zaprojekt przeanaliz uzasadn porówn oceń
    """,
    """
    证明 證明 推导 推廣 设计 設計 分析 评估 优化 实现一 比较 論証 証明 比較 導出 評価 論法
    증명 설계 분석 평가 비교하시 최적화
    """,
)

# One piece of work of some length: to explain, to write, to sum up.
PRODUCING: Final = _pattern(
    """
    explain why how_do how_does how_is how_can how_should describe summari summary tl;dr write
    draft create compare difference pros_and advantages plan_a suggest recommend solve improve
    discuss example key_points main_ideas main_arguments teach make_a causes_of what_causes
    what_happened reasons simplify add_ build group sort find_all timeline abstract prepare
    erklär warum wie_funktioniert schreib fasse unterschied zusammenfass vorschlag bereite
    expliqu pourquoi comment_fonction écri rédig résum différence quelles_sont
    explica por_qué cómo_funciona escrib resum diferencia redact dame_ideas
    объясн почему как_работает напиши опиши составь разниц
    explique escreva como_funciona spiega scrivi perché wyjaśni napisz dlaczego
    """,
    """
    解释 解釋 为什么 為什麼 写一 寫一 用python 如何 怎么 怎樣 总结 總結
    说明 説明 書いて なぜ 仕組み 違い 要約
    설명 작성 요약 이유
    """,
)

# Little more than a look-up, or the same text with small changes.
ROUTINE: Final = _pattern(
    """
    translate spell proofread correct_ punctuation grammar rephrase reword uppercase lowercase
    title_case british_spelling convert round synonym antonym plural capital_of who_ when_
    which_ what_does what_is_the what's_the how_many how_much how_long how_to sentiment spam
    yes_or_no extract_the classify label return_only does_the is_this language_is hello hey hi_
    hi good_morning good_night thank what_day define meaning_of shorten shorter past_tense
    passive name_three name_for names_for caption one-line mentioned
    übersetz korrigier hallo danke wie_viel wann_ wer_ welche_stadt wie_heißt
    tradui corrige bonjour merci combien quelle_est qui_a mets_cette
    traduce corrig hola gracias cuánto cuál_es quién buenos
    перевед исправ привет спасибо сколько кто_ столиц
    traduz quantos qual_é olá ciao grazie quanto przetłumacz cześć ile_ merhaba
    """,
    """
    翻译 翻譯 你好 谢谢 多少 多长 几个 哪里 改正 訳して こんにちは ありがとう 何メートル は?
    안녕 번역 감사
    """,
)

# What an answer must keep to.
CONSTRAINTS: Final = _pattern(
    """
    must at_most at_least without exactly only no_more never each every cannot should under_
    below_ within fewer less_than more_than not_ keep preserv avoid guarante consider taking
    state_ include require both two_ three_ constraint assum limit
    muss müssen höchstens mindestens ohne genau jede nur drei zwei vollständig
    doit sans chaque exactement seulement trois deux
    debe sin_ cada exactamente solo tres dos
    долж без_ кажд ровно только три двух
    sem cada senza każd trzy três
    """,
    "必须 必須 不能 至少 最多 每个 每一 所有 両方 二通り 三通り 가지",
)

MATHEMATICS: Final = _pattern(
    """
    theorem lemma integral derivativ eigenvalue matri continuous converg irrational prime
    equation probabilit polynomial bijection induction recurrence recurrent group_of asymptot
    inequality geometr combinator infinit axiom perturbation expected_number graph optimal
    satz primzahl irrational gruppe matrix folge stetig
    théorème suite_réelle nombres_premier convergent matric
    teorema números_primos polígono matriz
    теорем простран предел матриц
    teoremat insieme reali liczb
    """,
    "定理 素数 无理数 無理数 根号 不等式 上界 概率 소수 정리",
)

CODE: Final = _pattern(
    """
    python javascript typescript java rust golang c++ sql bash shell_ docker react function
    regex algorithm api class_ script compiler kernel git unit_test tests module query
    thread concurren async cache database schema server repository pull_request html css
    funktion skript klasse fonction función функци скрипт
    """,
    "函数 查询 関数 コード 함수 代码",
)
