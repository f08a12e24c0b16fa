"""The web app's pages; Streamlit runs page.py."""
