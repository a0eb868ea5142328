# R loads lazily and compiles a function when it has run twice: the first fits of a session cost several times what
# the later ones do. Two tiny ones, so that no fit's time has that in it.
warm <- function(fit) {
  data <- data.frame(v0 = c(1, 2, 4, 7, 3, 5, 6, 9, 8), v1 = gl(3, 3))
  for (i in 1:2) fit(data, v0 ~ 1 + (1 | v1))
}
