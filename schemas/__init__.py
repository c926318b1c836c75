"""The records on the topics, the columns made of them, and the policy documents."""
