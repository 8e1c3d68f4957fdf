//! A page of which each scenario replaces its own section. Pure.
//!
//! A section stands between `<!-- bench:ID -->` and `<!-- /bench:ID -->`.

/// The page with the section replaced, or put at its end.
pub fn replace(page: &str, id: &str, section: &str) -> String {
    let (open, close) = (format!("<!-- bench:{id} -->"), format!("<!-- /bench:{id} -->"));
    let new = format!("{open}\n{}\n{close}", section.trim());
    let cut = page.split_once(&open).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(&close)?;
        Some((before, after))
    });
    match cut {
        Some((before, after)) => format!("{before}{new}{after}"),
        None => format!("{}\n\n{new}\n", page.trim_end()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_of_the_page_stays() {
        let page = "# A\n\n<!-- bench:x -->\nold\n<!-- /bench:x -->\n\nend\n";
        let new = replace(page, "x", "\nnew\n");
        assert_eq!(new, "# A\n\n<!-- bench:x -->\nnew\n<!-- /bench:x -->\n\nend\n");
        assert_eq!(replace(&new, "x", "new"), new);
    }

    #[test]
    fn a_new_section_goes_to_the_end() {
        let page = replace("# A\n", "y", "text");
        assert_eq!(page, "# A\n\n<!-- bench:y -->\ntext\n<!-- /bench:y -->\n");
        let open = replace("# A\n<!-- bench:y -->\nnever closed\n", "y", "text");
        assert!(open.contains("never closed") && open.ends_with("text\n<!-- /bench:y -->\n"));
    }
}
