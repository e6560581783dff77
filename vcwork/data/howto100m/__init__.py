"""HowTo100M as it is published, streamed into stores that training reads."""
