package dev.libbge;

/**
 * A row of a corpus, and its score with a query.
 *
 * @param row its index in the corpus, from 0
 * @param score greater means more alike
 */
public record Hit(int row, float score) {}
