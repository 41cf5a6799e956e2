package recipient

// Path is where a notice leads: its id and key follow.
const Path = "/recipients/"
