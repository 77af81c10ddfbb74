// In the forms of grants: the tables of the chosen app only, and none where all may be read. What is hidden is not sent.
// Without this script every choice is there, and the server says which do not go together.
"use strict";

function showTables(form) {
    const app = form.querySelector('select[name$="-app"]');
    const all = form.querySelector('input[name$="-all_tables"]');
    const row = form.querySelector(".field-tables");
    if (!app || !all || !row) return;
    let shown = 0;
    for (const input of row.querySelectorAll('input[type="checkbox"]')) {
        const isShown = !all.checked && input.value.startsWith(`${app.value}/`);
        input.disabled = !isShown;
        const choice = input.closest("label") ?? input;
        choice.parentElement.hidden = !isShown;
        if (isShown) shown += 1;
    }
    // The groups of other apps.
    for (const group of row.querySelectorAll(".cs-tables > div")) {
        group.hidden = !group.querySelector("input:enabled");
    }
    row.hidden = all.checked || (shown === 0 && !row.querySelector(".errorlist"));
}

function watch(form) {
    form.addEventListener("change", () => showTables(form));
    showTables(form);
}

for (const form of document.querySelectorAll("#grants-group .inline-related:not(.empty-form)")) watch(form);
document.addEventListener("formset:added", (event) => {
    if (event.detail.formsetName === "grants") watch(event.target);
});
