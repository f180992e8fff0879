//! Answers people (Telegram) and programs (JSON)
