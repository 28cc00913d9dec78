package dev.libbge;

/**
 * A row of a corpus, and how alike it is to a query.
 *
 * @param row its place in the corpus, from 0
 * @param score greater means more alike
 */
public record Hit(int row, float score) {}
