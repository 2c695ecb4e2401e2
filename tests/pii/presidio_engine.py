"""Presidio's analyzer without a model: its patterns, checks and context words alone speak, and nothing is fetched.

`evaluate.py` measures it, and the end-to-end suite has it as a judge. Source: https://microsoft.github.io/presidio/api/analyzer_python
"""

import os


def analyzer(regions, languages=None):
    """An engine with every recogniser that needs no model; telephone numbers are those of `regions`. It knows English, and the recognisers for
    other countries are told that their texts are English; with `languages` it knows these, and each recogniser keeps its own."""
    # Domains are known by the list in the package, not by the newest one.
    os.environ.setdefault("TLDEXTRACT_PUBLIC_SUFFIX_LIST_URLS", "")
    from presidio_analyzer import AnalyzerEngine, RecognizerRegistry

    known = languages or ["en"]
    registry = RecognizerRegistry(supported_languages=known)
    for recognizer in _recognizers(regions, {} if languages else {"supported_language": "en"}):
        if recognizer.supported_language in known:
            registry.add_recognizer(recognizer)
    return AnalyzerEngine(registry=registry, nlp_engine=_blank(known), supported_languages=known)


def _recognizers(regions, options):
    from presidio_analyzer import predefined_recognizers

    for name in predefined_recognizers.__all__:
        recognizer = getattr(predefined_recognizers, name)
        if not hasattr(recognizer, "PATTERNS") and name not in ("PhoneRecognizer", "IbanRecognizer"):
            continue
        own = {"supported_regions": regions} if name == "PhoneRecognizer" else {}
        yield recognizer(**options, **own)


def _blank(languages):
    """An engine for words without a model: it only splits a text into them."""
    import spacy
    from presidio_analyzer.nlp_engine import SpacyNlpEngine

    @spacy.Language.component("words_as_lemmas")
    def words_as_lemmas(doc):
        """Context words are compared with lemmas, which a blank model does not have."""
        for token in doc:
            token.lemma_ = token.lower_
        return doc

    class Blank(SpacyNlpEngine):
        def __init__(self):
            super().__init__(models=[{"lang_code": language, "model_name": "blank"} for language in languages])
            self.nlp = {language: spacy.blank(language) for language in languages}
            for nlp in self.nlp.values():
                nlp.add_pipe("words_as_lemmas")

        def load(self):
            pass

    return Blank()
