"""Questions about our own manual, as somebody who does not know it would ask them."""

QUESTIONS = [
    "How do I use my own documents?",
    "Do I need a graphics card to run this?",
    "When does the large model get to answer?",
    "What do the colours in the waterfall mean?",
    "Can it read PDF files?",
    "How can I make the answers come faster?",
    "What does [no source] mean behind a sentence?",
    "Is anything that I type sent over the internet?",
    "How do I stop an answer that takes too long?",
    "Which model answers when I have set nothing up?",
    "How do I connect it to Foundry Local?",
    "The port is already taken, what now?",
    "Why do I get a quotation instead of an answer?",
    "What is a good value for the confidence threshold?",
    "How are the documents split into chunks?",
    "Can two people ask questions at the same time?",
    "How do I ask a question from the command line?",
    "Which files in my folder are skipped?",
    "What is the difference between Hybrid and Refine?",
    "Where do I put the API key of my model server?",
]
